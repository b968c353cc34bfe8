"""A person with a script."""

from __future__ import annotations


class Scripted:
    """Answers (part of a question, answer), in order; what is not in the script gets its default."""

    def __init__(self, *answers: tuple[str, object]) -> None:
        self._answers = list(answers)
        self.told: list[str] = []
        self.asked: list[str] = []

    def tell(self, sentence: str) -> None:
        self.told.append(sentence)

    def agrees(self, question: str, default: bool) -> bool:
        return bool(self._answer(question, default))

    def says(self, question: str, default: str | None, option: str) -> str:
        answer = self._answer(question, default)
        assert answer is not None, f"no answer to {question!r}"
        return str(answer)

    def _answer(self, question: str, default: object) -> object:
        self.asked.append(question)
        if self._answers and self._answers[0][0] in question:
            return self._answers.pop(0)[1]
        return default
