"""The adapter to vLLM's OpenAI layer: chat templates, tools, structured output, streaming, usage.

One `ModelFrontend` a model drives vLLM's own serving classes over an `EngineClient` that is not an
engine but the fleet. Only the calls behind our routes are reachable; vLLM's other routes are never
built.
"""

import contextlib
import time
from argparse import Namespace
from collections.abc import AsyncGenerator, Collection, Mapping
from typing import Any, Protocol, TypeVar

import pydantic
from starlette.datastructures import State
from vllm.engine.protocol import EngineClient
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.cli_args import FrontendArgs
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.entrypoints.serve.exception_handling.error_response import create_error_response
from vllm.exceptions import VLLMClientError

from app.api.context import RequestContext
from app.config import ModelConfig
from app.errors import (
    ContextLengthExceeded,
    InternalError,
    InvalidRequest,
    ModelForbidden,
    NotFound,
    TidegateError,
    UnknownModel,
    error_from_code,
)

JsonBody = dict[str, Any]
_Model = TypeVar("_Model", bound=pydantic.BaseModel)
REQUEST_MODELS = (ChatCompletionRequest, CompletionRequest, ResponsesRequest)
LENGTH_WORDS = ("maximum context length", "cannot be greater than max_model_len")
LENGTH_PARAMETERS = frozenset({"input_tokens", "input_text", "max_total_tokens"})


class _Handler(Protocol):
    """One of vLLM's serving methods: a request model in, an answer or a stream out."""

    async def __call__(self, request: Any, raw_request: None = None) -> Any: ...


class ModelFrontend:
    """vLLM's OpenAI layer for one model.

    Args:
        model: the model's configuration.
        client: what generates; called with token ids only.
        engine_args: the vLLM engine arguments the client's configuration was made from.
    """

    def __init__(self, model: ModelConfig, client: EngineClient, engine_args: Any) -> None:
        self._model = model
        self._client = client
        self._engine_args = engine_args
        self._state = State()

    @property
    def max_model_len(self) -> int:
        """The longest sequence, prompt and output together, in tokens."""
        return self._model.max_model_len

    async def start(self) -> None:
        """Loads the chat template and the parsers."""
        model = self._model
        frontend = FrontendArgs(
            enable_auto_tool_choice=model.tool_call_parser is not None,
            tool_call_parser=model.tool_call_parser,
            chat_template=model.chat_template,
        )
        args = Namespace(**(vars(frontend) | vars(self._engine_args)))
        args.served_model_name = [model.name]
        await init_app_state(self._client, self._state, args, supported_tasks=("generate",))

    async def chat(
        self, body: JsonBody, context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """`/v1/chat/completions`: JSON, or server-sent events if the body asks to stream."""
        request = _validate(ChatCompletionRequest, body)
        context.max_tokens = request.max_completion_tokens or request.max_tokens
        serving = self._state.openai_serving_chat
        return await self._answer(serving.create_chat_completion, request)

    async def complete(
        self, body: JsonBody, context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """`/v1/completions`: JSON, or server-sent events if the body asks to stream."""
        request = _validate(CompletionRequest, body)
        context.max_tokens = request.max_tokens
        serving = self._state.openai_serving_completion
        return await self._answer(serving.create_completion, request)

    async def respond(
        self, body: JsonBody, context: RequestContext
    ) -> bytes | AsyncGenerator[str, None]:
        """`/v1/responses`: JSON, or server-sent events if the body asks to stream."""
        request = _validate(ResponsesRequest, body)
        context.max_tokens = request.max_output_tokens
        serving = self._state.openai_serving_responses
        answer = await self._answer(serving.create_responses, request, by_alias=True)
        return answer if isinstance(answer, bytes) else _named_events(answer)

    def decode(self, prompt: Any) -> str:
        """The text of a prompt given as token ids, one list or several; otherwise empty.

        Raises:
            InvalidRequest: an id is not in the model's vocabulary.
        """
        if not isinstance(prompt, list) or not prompt:
            return ""
        lists = [prompt] if isinstance(prompt[0], int) else prompt
        tokenizer = self._client.renderer.get_tokenizer()
        try:
            return "\n".join(tokenizer.decode(ids) for ids in lists if isinstance(ids, list))
        except (TypeError, ValueError, OverflowError, KeyError, IndexError):
            raise InvalidRequest(
                "prompt holds token ids that are not in the vocabulary", param="prompt"
            ) from None

    async def _answer(self, call: _Handler, request: Any, *, by_alias: bool = False) -> Any:
        try:
            answer = await call(request)
        except TidegateError:
            raise
        except Exception as error:
            raise translated(error) from error
        if isinstance(answer, ErrorResponse):
            raise _translated(answer)
        if isinstance(answer, AsyncGenerator):
            return answer
        return answer.model_dump_json(by_alias=by_alias).encode()


def _validate(kind: type[_Model], body: JsonBody) -> _Model:
    try:
        return kind.model_validate(body)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        # Union members stand in the path by their type's name; the field's own path comes first.
        path = ".".join(str(part) for part in first["loc"][:3]) or None
        raise InvalidRequest(f"{path or 'the body'}: {first['msg']}", param=path) from None
    except (ValueError, TypeError, RecursionError, VLLMClientError) as error:
        # vLLM's validators raise their own errors, past pydantic.
        raise translated(error) from None


def translated(error: Exception) -> TidegateError:
    """An error of vLLM's front end in our shape."""
    return _translated(create_error_response(error))


def _translated(answer: ErrorResponse) -> TidegateError:
    """vLLM's error in our shape; anything that is not the client's fault loses its detail."""
    info = answer.error
    if info.code == 404:
        return NotFound(info.message, param=info.param)
    if info.code >= 500:
        return InternalError("the model's front end failed; the request may be sent again")
    if info.param in LENGTH_PARAMETERS or any(words in info.message for words in LENGTH_WORDS):
        return error_from_code(ContextLengthExceeded.code, info.message)
    return InvalidRequest(info.message, param=info.param)


async def _named_events(events: AsyncGenerator[Any, None]) -> AsyncGenerator[str, None]:
    """The Responses API names its events on the wire."""
    async with contextlib.aclosing(events):
        async for event in events:
            data = event.model_dump_json(indent=None, by_alias=True)
            yield f"event: {getattr(event, 'type', 'unknown')}\ndata: {data}\n\n"


class OpenAIFrontend:
    """All models of the fleet behind one API."""

    def __init__(self, frontends: Mapping[str, ModelFrontend]) -> None:
        self._frontends = frontends
        self._created = int(time.time())

    def model(self, body: JsonBody, allowed: Collection[str] | None = None) -> ModelFrontend:
        """The front end of the model that a body names.

        Args:
            body: of the request.
            allowed: names of the models that may be asked; None for all.

        Raises:
            InvalidRequest: `model` is missing or not a string.
            UnknownModel: no such model is served.
            ModelForbidden: it is served, but not to this caller.
        """
        name = body.get("model")
        if not isinstance(name, str):
            raise InvalidRequest("model must be given, as a string", param="model")
        frontend = self._frontends.get(name)
        if frontend is None:
            raise UnknownModel(
                f"the model {name[:128]!r} is not served here; GET /v1/models lists those that are",
                param="model",
            )
        if allowed is not None and name not in allowed:
            raise ModelForbidden(
                f"this key may not ask the model {name!r}; GET /v1/models lists those it may"
            )
        return frontend

    def models(self, allowed: Collection[str] | None = None) -> JsonBody:
        """The answer to `/v1/models`: all models, or those of `allowed`."""
        return {
            "object": "list",
            "data": [
                {
                    "id": name,
                    "object": "model",
                    "created": self._created,
                    "owned_by": "tidegate",
                    "max_model_len": frontend.max_model_len,
                }
                for name, frontend in self._frontends.items()
                if allowed is None or name in allowed
            ],
        }
