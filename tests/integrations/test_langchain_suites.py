"""LangChain's own suites for retrievers, vector stores and chat models, as they are published."""

from __future__ import annotations

import pytest
from tiny import tiny_bert

pytest.importorskip("langchain_core", reason="langchain-core is not installed")
pytest.importorskip("langchain_tests", reason="langchain-tests is not installed")

from langchain_tests.integration_tests import (
    ChatModelIntegrationTests,
    RetrieversIntegrationTests,
    VectorStoreIntegrationTests,
)
from langchain_tests.unit_tests import ChatModelUnitTests

from memgpt_rag import AskOptions
from memgpt_rag.integrations.langchain import ChatMemGPT, MemGPTRetriever, MemGPTVectorStore


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        return MemGPTVectorStore(tmp_path / "memory", self.get_embeddings())


class TestVectorStoreWithItsOwnEncoder(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path):
        return MemGPTVectorStore(tmp_path / "memory", encoder=str(tiny_bert(tmp_path / "bert")))


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _memory(self, boats):
        self.memory = boats.retriever

    @property
    def retriever_constructor(self):
        return MemGPTRetriever

    @property
    def retriever_constructor_params(self):
        return {"retriever": self.memory}

    @property
    def retriever_query_example(self):
        return "What does boat 3 cost?"


class _OurChat:
    """What the suites ask about the chat model. It has one model, calls no tools and reads texts only."""

    @pytest.fixture(autouse=True)
    def _rag(self, boats):
        self.rag = boats

    @property
    def chat_model_class(self):
        return ChatMemGPT

    @property
    def chat_model_params(self):
        return {"rag": self.rag, "options": AskOptions(max_new_tokens=8)}

    @property
    def supports_model_override(self):
        return False


class TestChatModelUnits(_OurChat, ChatModelUnitTests):
    pass


class TestChatModel(_OurChat, ChatModelIntegrationTests):
    pass
