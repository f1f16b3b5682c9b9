"""What the sample service knows: articles, users and tags, in memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pydantic import BaseModel, Field


class Draft(BaseModel):
    """An article as a client sends it."""

    title: str = Field(min_length=1, max_length=200)
    body: str = "..."
    tags: list[str] = []


class Article(Draft):
    """An article as the service shows it. ``revision`` grows with each change, so that an old copy can be told."""

    id: int
    revision: int = 1
    author: str = "ada"


class User(BaseModel):
    """A user, as others may see them."""

    id: str
    name: str
    org_id: str


USERS = {
    user.id: user
    for user in (
        User(id="1", name="ada", org_id="acme"),
        User(id="2", name="grace", org_id="acme"),
        User(id="3", name="linus", org_id="umbrella"),
    )
}
TAGS = ("caching", "http", "python")


def _first_articles() -> dict[int, Article]:
    return {n: Article(id=n, title=f"Article {n}", tags=[TAGS[n % len(TAGS)]]) for n in range(1, 101)}


@dataclass(slots=True)
class Articles:
    """The articles, by id."""

    by_id: dict[int, Article] = field(default_factory=_first_articles)

    def page(self, skip: int, limit: int) -> list[Article]:
        """``limit`` articles after the first ``skip``, in the order of their ids."""
        return [self.by_id[n] for n in sorted(self.by_id)[skip : skip + limit]]

    def some(self, numbers: Iterable[int]) -> list[Article]:
        """The articles that ``numbers`` names, as far as there are any."""
        return [self.by_id[n] for n in numbers if n in self.by_id]

    def add(self, draft: Draft) -> Article:
        """A new article made of ``draft``."""
        number = max(self.by_id, default=0) + 1
        self.by_id[number] = Article(id=number, **draft.model_dump())
        return self.by_id[number]

    def change(self, number: int, draft: Draft) -> Article:
        """Article ``number`` with the contents of ``draft``. KeyError where there is none."""
        old = self.by_id[number]
        new = old.model_copy(update={**draft.model_dump(), "revision": old.revision + 1})
        self.by_id[number] = new
        return new
