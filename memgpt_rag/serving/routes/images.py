"""/v1/images/search: pictures found by words or by a picture, and words found by a picture."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field, model_validator
from typing_extensions import Self

from memgpt_rag.choices import DEFAULT_PICTURES
from memgpt_rag.errors import SourceError
from memgpt_rag.io.pictures import kept_picture, read_picture
from memgpt_rag.limits import MOST_BODY_BYTES, MOST_CHARACTERS, MOST_ENTRIES
from memgpt_rag.serving.api_errors import ApiError
from memgpt_rag.serving.chat_request import Strict, picture_bytes
from memgpt_rag.serving.files import shown_name
from memgpt_rag.serving.service import current_access, current_service, viewer_links
from memgpt_rag.tasks.images.search import FoundPicture

router = APIRouter(tags=["images"])
_PICTURE = "The picture of the request"


class ImageSearchRequest(Strict):
    """The body of POST /v1/images/search; `model` is the name of a memory of pictures. One of `text`, `image` and `file_id` is given.

    Attributes:
        text: what to find pictures by.
        image: a picture to search by, as an address data:image/png;base64,…
        file_id: an uploaded picture to search by.
        find: what is found by a picture.
        k: how many are found.
    """

    model: Annotated[str, Field(max_length=200)]
    text: Annotated[str, Field(max_length=MOST_CHARACTERS)] | None = None
    image: Annotated[str, Field(max_length=MOST_BODY_BYTES)] | None = None
    file_id: Annotated[str, Field(max_length=200)] | None = None
    find: Literal["pictures", "words"] = "pictures"
    k: Annotated[int, Field(ge=1, le=MOST_ENTRIES)] = DEFAULT_PICTURES

    @model_validator(mode="after")
    def _searches_by_one(self) -> Self:
        if (self.text, self.image, self.file_id).count(None) != 2:
            raise ValueError("give a text, an image, or a file_id to search by, and one of them only")
        if self.text is not None and not self.text.strip():
            raise ValueError("the text is empty; give words to search by")
        if self.text is not None and self.find == "words":
            raise ValueError("words are found by a picture; a text finds pictures")
        return self


@router.post("/v1/images/search")
async def search_images(request: Request, body: ImageSearchRequest) -> dict[str, Any]:
    """Find the pictures of a memory by words or by a picture, or its words by a picture, with the address of each picture."""
    service, access, links = current_service(request), current_access(request), viewer_links(request)
    served = service.memories.get(service.memory_name(body.model, None, access), access)
    file = None
    if body.file_id is not None:
        file = service.stores.files.path(service.stores.files.get(body.file_id, access))

    def search() -> list[FoundPicture]:
        # The encoder embeds. Pictures are decoded one at a time, too, since each may take much memory.
        with served.named(), service.memories.lock:
            finder = service.picture_searches.get(served)
            if body.text is not None:
                return finder.by_texts([body.text], body.k)[0]
            find = finder.words if body.find == "words" else finder.by_pictures
            return find([_picture(body.image, file)], body.k)[0]

    return {
        "object": "list",
        "data": [
            {
                "object": "image.result",
                "index": number,
                **one.to_dict(),
                "place": shown_name(one.passage.place),
                "url": links.entry(served, one.passage),
                "picture": links.picture(served, one.passage),
            }
            for number, one in enumerate(await asyncio.to_thread(search))
        ],
        "model": served.name,
    }


def _picture(address: str | None, file: Path | None) -> bytes:
    """Return the picture of a request, decoded and encoded anew.

    Raises:
        ApiError: 400 for one that is none, or too large.
    """
    try:
        if file is not None:
            return read_picture(file, file.name)
        return kept_picture(picture_bytes(address or ""), _PICTURE)
    except (SourceError, ValueError) as error:
        raise ApiError(400, str(error), param="image" if file is None else "file_id") from error
