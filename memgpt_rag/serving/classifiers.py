"""The classifiers of a server's memories, loaded when they are first asked."""

from __future__ import annotations

from memgpt_rag.model import MemoryDecoder
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.memories import ServedMemory
from memgpt_rag.tasks.classification.classifier import MemoryClassifier
from memgpt_rag.tasks.classification.reading import example_model
from memgpt_rag.tasks.classification.saved import classifier_file, load_classifier


class Classifiers:
    """Classifiers by the name of their memory; each is loaded again for a new version, and where it was fitted again."""

    def __init__(self) -> None:
        self._model: MemoryDecoder | None = None
        self._loaded: dict[str, tuple[ServedMemory, int, MemoryClassifier]] = {}

    def get(self, served: ServedMemory) -> MemoryClassifier:
        """Return the classifier of a memory. The engine's thread calls this, since it uses the language model.

        Raises:
            ApiError: 404 where none was fitted to this memory.
            MemgptRagError: its file is damaged, or it was fitted with another language model.
        """
        try:
            written = classifier_file(served.folder).stat().st_mtime_ns
        except FileNotFoundError:
            raise ApiError(
                404,
                f"No classifier was fitted to the memory {served.name!r}; memgpt-rag classify fit makes one.",
                param="model",
                code="classifier_not_found",
            ) from None
        loaded = self._loaded.get(served.name)
        if loaded is None or loaded[0] is not served or loaded[1] != written:
            self._model = self._model or example_model(served.rag.model)  # one for all, with one cache of states
            classifier = load_classifier(served.memory, model=self._model, encoder=served.rag.retriever.encoder)
            loaded = self._loaded[served.name] = served, written, classifier
        return loaded[2]
