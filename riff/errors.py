"""Errors that a user can cause. Each message names the file or value and the way out, in one line."""


class RiffError(Exception):
    """Ends a command with one line on stderr and exit status 2."""


class AudioError(RiffError):
    """An audio file that cannot be read or used."""


class AudioWarning(UserWarning):
    """An audio file that is used although it is damaged or unusual."""


class DataError(RiffError):
    """An invalid prompt file, folder of pairs, or spectrogram image."""


class ModelError(RiffError):
    """A model that cannot be found, loaded safely, or used for this purpose."""


class TrainingError(RiffError):
    """A training run that cannot go on, such as after a non-finite loss."""


class Interrupted(RiffError):
    """A run that a signal ended early; the message says what was saved. signal: its number."""

    def __init__(self, text: str, signal: int) -> None:
        super().__init__(text)
        self.signal = signal


class OptionError(RiffError):
    """Options that are invalid, or contradict each other or what is already on disk."""


class Unavailable(RiffError):
    """A source of a download that cannot be reached or has other files; the message is the reason alone."""


class SettingError(OptionError):
    """A setting that cannot be used. The message begins with the setting's name, which is also that of the flag."""


class ExistsError(OptionError):
    """Earlier results that this run can neither continue nor replace. The message begins with their folder."""
