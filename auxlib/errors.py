"""Typed errors of auxlib; every message names the fault, the expectation and the remedy."""


class AuxlibError(Exception):
    """Base class of all errors that auxlib raises on purpose."""


class VocabularyMismatch(AuxlibError, ValueError):
    """Logits that are to be added have different vocabularies."""


class WeightError(AuxlibError, ValueError):
    """An auxiliary's weight λ is not a finite number, or does not fit the batch."""


class KeywordError(AuxlibError, ValueError):
    """A keyword cannot be used as a condition."""


class AssetError(AuxlibError, RuntimeError):
    """A model or corpus could not be fetched, or does not match its checksum."""


class CorpusError(AuxlibError, ValueError):
    """A corpus is unknown or its records cannot be used."""


class TaskError(AuxlibError, ValueError):
    """A classification task is unknown, or its texts and labels cannot be used."""


class ExpertMismatch(AuxlibError, ValueError):
    """An auxiliary or a feature cache belongs to another expert."""


class CheckpointError(AuxlibError, RuntimeError):
    """A saved auxiliary is missing, truncated, or not what its settings describe."""


class TrainingError(AuxlibError, ValueError):
    """A training cannot be done with these arguments."""


class CourseError(AuxlibError, ValueError):
    """A notebook, a profile or the course table is not as it should be."""


class WorldError(AuxlibError, ValueError):
    """A text, prefix or table does not fit a synthetic world."""


class ResultsMismatch(AuxlibError, ValueError):
    """Recorded results were made by another version, other data or other behaviour than is here."""


class SettingError(AuxlibError, ValueError):
    """An environment variable holds a value that auxlib does not know."""


class RepositoryMissing(AuxlibError, RuntimeError):
    """A command needs a part of the repository that the installed library does not hold."""
