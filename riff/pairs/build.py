"""From songs to a folder of pairs: every song complete or not at all, resuming where an earlier run stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from riff.cli import MinuteLines, progress_bar
from riff.data.records import prompt_of
from riff.errors import RiffError
from riff.pairs.clip_images import slug_of
from riff.pairs.engines import Engine, one_process
from riff.pairs.journal import SongJournal, is_unchanged
from riff.pairs.output import OutputFolder
from riff.pairs.songs import SongFile, unique_slugs
from riff.pairs.staging import Failure, SongJob, SongMaker, StagedSong, StageSong, Staging


@dataclass
class BuildReport:
    """What a run did, in songs.

    Attributes:
        left_out: songs after `max_pairs` was reached. pairs: in the folder. clips, dropped_clips: of the songs made.
    """

    made: int = 0
    pairs: int = 0
    dropped_clips: int = 0
    skipped: int = 0
    failed: int = 0
    left_out: int = 0
    clips: int = 0

    @property
    def songs(self) -> int:
        """Songs processed so far."""
        return self.made + self.skipped + self.failed + self.left_out


@dataclass
class Build:
    """Makes the pairs of every song that is not done yet; a song that cannot be made is reported and the others go on.

    Attributes:
        songs: in order. all_songs: those that may ever come into the folder, whose file names must differ.
        prompts: by the songs' names. default_prompt: of a song without one.
        none_left: the warning for a song without a usable clip.
        max_pairs: in the whole folder; the song that reaches it is cut short.
        engine: where the songs are made; the pairs are the same with any.
    """

    songs: Sequence[SongFile]
    all_songs: Sequence[SongFile]
    prompts: Mapping[str, Any]
    default_prompt: Any
    folder: OutputFolder
    maker: SongMaker
    none_left: str
    max_pairs: int | None = None
    engine: Engine = one_process
    warn: Callable[[str], None] = print
    report: BuildReport = field(default_factory=BuildReport)

    def run(self) -> BuildReport:
        """Make them, in a folder that is `OutputFolder.prepared`."""
        self._staging, self._journal = Staging(self.folder.path), SongJournal(self.folder.records_file)
        self._clean_up()
        self._slugs = self._assign_slugs()
        lines = MinuteLines(len(self.songs), "songs")
        try:
            with progress_bar(total=len(self.songs), desc="songs", unit="song") as progress:
                for result in self.engine(StageSong(self.folder.path, self.maker), self._jobs()):
                    self._add(result)
                    counts = f"{self.report.clips} clips, {self._journal.num_pairs} pairs"
                    progress.update(self.report.songs - progress.n)
                    progress.set_postfix_str(counts)
                    lines.update(self.report.songs, counts)
        finally:
            self._staging.tidy()
        self._staging.finish()
        self.report.pairs = self._journal.num_pairs
        return self.report

    def _clean_up(self) -> None:
        """Remove what an interrupted run left, except complete songs that only have to be moved."""
        self._staging.tidy()
        staged = {song.song: song.slug for song in self._staging.songs()}
        for song in staged.keys() & self._journal.done.keys():
            self._staging.drop(staged.pop(song))
        self._remove_unfinished(staged)

    def _remove_unfinished(self, staged: Mapping[str, str] = {}) -> None:
        """Remove the records of songs that are not done, and their images where the song is not staged."""
        self.folder.remove_pairs(record for record in self._journal.unfinished() if record.get("song") not in staged)
        self._journal.remove_unfinished()

    def _assign_slugs(self) -> dict[str, str]:
        """song name -> its name in file names; songs that are done or staged keep theirs."""
        files = ((record["song"], file) for record in self._journal.finished() for file in self.folder.own_files(record))
        used = {song: slug for song, file in files if (slug := slug_of(file))}
        return unique_slugs(self.all_songs, used | {song.song: song.slug for song in self._staging.songs()})

    def _jobs(self) -> Iterator[SongJob]:
        for song in self.songs:
            prompt = prompt_of(song.name, self.prompts)
            if self._is_done(song, prompt):
                self.report.skipped += 1
            elif self._pairs_wanted() == 0:
                self.report.left_out += 1
            else:
                if prompt is None:
                    self.warn(f"{song.name}: no prompt for this song; using {self.default_prompt!r}")
                yield SongJob(song, self._slugs[song.name], self.default_prompt if prompt is None else prompt)

    def _is_done(self, song: SongFile, prompt: Any) -> bool:
        line = self._journal.done.get(song.name)
        if line is None:
            return False
        if "content" in line and not self._is_unchanged(song, line["content"]):
            self.warn(f"{song.name}: has changed since its pairs were made; making them again")
            self._journal.forget(song.name)
            self._remove_unfinished()
            return False
        if prompt is not None and prompt != line["prompt"]:
            self.warn(f"{song.name}: its prompt has changed since its pairs were made, which keep the earlier one")
        return True

    def _is_unchanged(self, song: SongFile, content: Mapping[str, Any]) -> bool:
        try:
            return is_unchanged(self.maker.sources(song), content)
        except (RiffError, OSError):  # a file is missing; the pairs made from it stay
            return True

    def _pairs_wanted(self) -> int | None:
        """How many more pairs `max_pairs` allows; None for any number."""
        return None if self.max_pairs is None else max(0, self.max_pairs - self._journal.num_pairs)

    def _add(self, result: StagedSong | Failure) -> None:
        """Move a song's pairs to the others, and record the song as done."""
        if isinstance(result, Failure):
            self.warn(f"error: {result.message}")
            self.report.failed += 1
            return
        for warning in result.warnings:
            self.warn(f"warning: {warning}")
        wanted = self._pairs_wanted()
        if wanted == 0:
            self._staging.undo(result.slug)
            self.report.left_out += 1
            return
        records = result.records[:wanted]
        self._staging.move(result, result.files_of(records))
        self._journal.add(
            result.song, records, prompt=result.prompt, clips=result.clips, dropped=result.dropped, content=result.content
        )
        self._staging.drop(result.slug)
        self.report.made += 1
        self.report.clips += result.clips - result.dropped
        self.report.dropped_clips += result.dropped
        if not records:
            self.warn(f"{result.song}: {self.none_left}")
