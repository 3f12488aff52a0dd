"""A reply while it is spoken: it is made in a thread of its own, and what is told of it is given on at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Condition
from typing import Generic, TypeVar

from m6rec.serving.conversation.reply import ChatReply, pieces

R = TypeVar("R")
Tell = Callable[[str], None]


class Speaking(Generic[R]):
    """Iterating gives the text in pieces, each as soon as it stands; joined they are the text of `whole`. It may be iterated more than once.

    Nobody need listen: the thread ends with the reply, whether its pieces are taken or not.
    """

    def __init__(self, talk: Callable[[Tell], R], text_of: Callable[[R], str]) -> None:
        """Begin, and wait for the first piece.

        Args:
            talk: makes the reply; it is given what takes the reply as far as it stands, more each time, always the beginning of the whole.
            text_of: the text of the reply.

        Raises:
            What `talk` raises before it told of anything; what it raises later comes to who iterates or asks for `whole`.
        """
        self._text_of, self._told, self._changed = text_of, "", Condition()
        pool = ThreadPoolExecutor(1, thread_name_prefix="m6rec-speaking")
        self._talked: Future[R] = pool.submit(talk, self._tell)
        pool.shutdown(wait=False)
        self._talked.add_done_callback(lambda _: self._wake())
        if not self._further(0):
            self._talked.result()

    def __iter__(self) -> Iterator[str]:
        given = 0
        while text := self._further(given):
            yield text[given:]
            given = len(text)
        yield from pieces(self._text_of(self.whole)[given:])

    @property
    def whole(self) -> R:
        """The reply, once it is at its end. Raises what went wrong on the way."""
        return self._talked.result()

    def _tell(self, text: str) -> None:
        self._told = text
        self._wake()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _further(self, given: int) -> str:
        """What was told, as soon as it is more than so many characters; "" where the reply ended with no more told."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._told) > given or self._talked.done())
            return self._told if len(self._told) > given else ""


class ChatStream(Speaking[ChatReply]):
    """A reply of a conversation piece by piece; `reply` is the whole."""

    def __init__(self, talk: Callable[[Tell], ChatReply]) -> None:
        super().__init__(talk, lambda reply: reply.text)

    @property
    def reply(self) -> ChatReply:
        """The reply, once it is at its end. Raises what went wrong on the way."""
        return self.whole
