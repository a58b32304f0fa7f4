"""The errors that a person can cause. Each message names the file or flag and the way out, in one line."""


class RiffError(Exception):
    """Anything that ends a command with one line on stderr and exit status 2."""


class AudioError(RiffError):
    """An audio file that cannot be read, or holds nothing that can be used."""


class AudioWarning(UserWarning):
    """Said of an audio file that is used although something is wrong with it."""


class DataError(RiffError):
    """A prompt file, a folder of pairs, or a spectrogram image that is not what it should be."""


class ModelError(RiffError):
    """A model that cannot be found, loaded safely, or used in this place."""


class TrainingError(RiffError):
    """A training run that has come to numbers from which it cannot go on."""


class Interrupted(RiffError):
    """A run that a signal ended before its work was done; what became of it is said. signal: its number."""

    def __init__(self, text: str, signal: int) -> None:
        super().__init__(text)
        self.signal = signal


class OptionError(RiffError):
    """Flags that contradict each other or what is already on disk."""


class Unavailable(RiffError):
    """A place that files could come from, and that cannot be reached or has something else; says why in a few words."""


class SettingError(OptionError):
    """A setting that cannot be used. The message begins with the setting's name, which is also that of the flag."""


class ExistsError(OptionError):
    """Earlier results that this run can neither continue nor replace. The message begins with their folder."""
