"""Haystack's own suites for document stores pass over a memory as they are, with their asynchronous twins."""

from __future__ import annotations

import pytest
from hashing import HashEncoder

pytest.importorskip("haystack", reason="haystack-ai is not installed")
pytest.importorskip("pytest_asyncio", reason="pytest-asyncio, which runs the asynchronous suites, is not installed")

from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing import document_store as suites
from haystack.testing import document_store_async as asynchronous

from memgpt_rag.integrations.haystack import MemGPTDocumentStore

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # of Haystack and pytest-asyncio, about themselves


@pytest.fixture
def document_store(tmp_path):
    return MemGPTDocumentStore(str(tmp_path / "memory"), HashEncoder(16))


class TestStore(
    suites.DocumentStoreBaseExtendedTests,
    suites.CountDocumentsByFilterTest,
    suites.CountUniqueMetadataByFilterTest,
    suites.GetMetadataFieldsInfoTest,
    suites.GetMetadataFieldMinMaxTest,
    suites.GetMetadataFieldUniqueValuesTest,
):
    @pytest.fixture
    def document_store(self, document_store):
        return document_store

    def test_write_documents(self, document_store):
        """The suite leaves to each store what no policy means; here it is FAIL, as in Haystack's own store."""
        document = Document(content="a bench of oak")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError, match="is taken; write with another policy"):
            document_store.write_documents([document], DuplicatePolicy.NONE)
        assert document_store.filter_documents() == [document]


class TestAsynchronousStore(
    asynchronous.CountDocumentsAsyncTest,
    asynchronous.CountDocumentsByFilterAsyncTest,
    asynchronous.CountUniqueMetadataByFilterAsyncTest,
    asynchronous.DeleteAllAsyncTest,
    asynchronous.DeleteByFilterAsyncTest,
    asynchronous.DeleteDocumentsAsyncTest,
    asynchronous.FilterDocumentsAsyncTest,
    asynchronous.GetMetadataFieldMinMaxAsyncTest,
    asynchronous.GetMetadataFieldUniqueValuesAsyncTest,
    asynchronous.GetMetadataFieldsInfoAsyncTest,
    asynchronous.UpdateByFilterAsyncTest,
    asynchronous.WriteDocumentsAsyncTest,
    suites.FilterableDocsFixtureMixin,
):
    @pytest.fixture
    def document_store(self, document_store):
        return document_store

    @pytest.mark.asyncio
    async def test_write_documents_async(self, document_store):
        """As its twin above."""
        document = Document(content="a bench of oak")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError, match="is taken"):
            await document_store.write_documents_async([document])
