"""MovieLens in its formats: 1M and 10M (`::` files), 100K (u.data), the later CSV releases, and interactions with positions.

Codes become words by the lists of the MovieLens README, so that a profile can be read as text.
"""

from __future__ import annotations

from pathlib import Path

import polars as pl
from pydantic import Field

from m6rec.base.configuration import Config
from m6rec.base.errors import DataError
from m6rec.data.account import Account
from m6rec.data.columns import Columns
from m6rec.data.fields import FieldType
from m6rec.data.importers.importer import IMPORTERS, Imported, Importer
from m6rec.data.readers import read_bytes, read_table
from m6rec.data.schema import canonical

# README of MovieLens-1M: gender, the lower bound of the age band, occupation number.
GENDERS = {"M": "male", "F": "female"}
AGES = {"1": "under 18", "18": "18-24", "25": "25-34", "35": "35-44", "45": "45-49", "50": "50-55", "56": "56 or older"}
OCCUPATIONS = (
    *("other", "academic or educator", "artist", "clerical or admin", "college or graduate student", "customer service"),
    *("doctor or health care", "executive or managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer", "retired"),
    *("sales or marketing", "scientist", "self-employed", "technician or engineer", "tradesman or craftsman", "unemployed", "writer"),
)
# README of MovieLens-100K: the 19 flags at the end of a line of u.item.
GENRES_100K = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
EXTRA_COLUMNS = ("item_id", "name", "released", "rated", "date", "categories", "director", "writers", "actors", "plot", "poster")
NO_GENRE = "(no genres listed)"
RATINGS = ("ratings.dat", "u.data", "ratings.csv", "ratings.csv.gz", "interactions.csv", "interactions.csv.gz")
ITEMS = ("movies.dat", "u.item", "movies.csv", "movies.csv.gz")
USERS = ("users.dat", "u.user")
EXTRAS = ("movies_extrainfos.dat", "movies_extrainfos.dat.gz")
ARTICLES = "The|A|An|Le|La|Les|L'|El|Los|Las|Il|Lo|Der|Die|Das|Un|Une|Una"


@IMPORTERS.register("movielens")
class MovielensImporter(Importer):
    """Ratings are events with the stars as their value; title text, year number, genres tags; gender, age, occupation categories."""

    name = "movielens"
    description = "MovieLens folders: ratings.dat, u.data, ratings.csv or interactions.csv(.gz), with their movies and users"

    class Options(Config):
        """Options of `m6rec import movielens`."""

        ratings: str | None = Field(None, description=f"File of the ratings; null takes the first of {', '.join(RATINGS)}.")
        extra: bool = Field(False, description="Add plot, director and actors from movies_extrainfos.dat(.gz).")
        articles_first: bool = Field(True, description='Show "Matrix, The" as "The Matrix".')

    @classmethod
    def detect(cls, path: Path) -> bool:
        """A folder with movies in a MovieLens format and ratings."""
        return path.is_dir() and _first(path, ITEMS) is not None and _first(path, RATINGS) is not None

    def read(self, source: Path, options: Options, account: Account) -> Imported:
        """All three tables; movies that nobody rated stay in the catalogue."""
        if not source.is_dir():
            raise DataError(f"{source} is a file; name the folder that holds the MovieLens files")
        ratings = source / options.ratings if options.ratings else _first(source, RATINGS)
        if ratings is None:
            raise DataError(f"{source} has none of {', '.join(RATINGS)}; say which file holds the ratings with the option ratings")
        events = _ratings(ratings)
        account.add("ratings read", events.height, ratings.name)
        movies, people = _first(source, ITEMS), _first(source, USERS)
        items = None if movies is None else _titles(_movies(movies), options)
        users = None if people is None else _users(people)
        item_fields = {"title": FieldType.TEXT, "year": FieldType.NUMBER, "genres": FieldType.TAGS} if items is not None else {}
        if items is not None and options.extra:
            items = _with_extra(items, source, account)
            item_fields |= {"plot": FieldType.TEXT, "director": FieldType.TAGS, "actors": FieldType.TAGS}
        user_fields = dict.fromkeys(("gender", "age", "occupation"), FieldType.CATEGORY) if users is not None else {}
        return Imported(events=events, items=items, users=users, item_fields=item_fields, user_fields=user_fields)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _cut(path: Path, separator: str, columns: tuple[str, ...]) -> pl.DataFrame:
    """Lines cut at every `separator`, blank cells null; UTF-8 (10M) or else latin-1 (1M, 100K).

    Raises:
        DataError: a line with another number of cells.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    text = text.replace("\r\n", "\n")
    lines = pl.Series("line", [line for line in text.split("\n") if line], dtype=pl.String)
    if lines.len() == 0:
        raise DataError(f"{path.name} is empty")
    cells = lines.str.split(separator)
    ragged = cells.list.len() != len(columns)
    if ragged.any():
        line = int(ragged.arg_true()[0])
        raise DataError(f"{path.name}: line {line + 1} has {len(cells[line])} cells; {len(columns)} cut by '{separator}' are expected")
    cut = {name: cells.list.get(index).str.strip_chars() for index, name in enumerate(columns)}
    return pl.DataFrame({name: column.set(column == "", None) for name, column in cut.items()})


def _ratings(path: Path) -> pl.DataFrame:
    """user_id, item_id, value, time, and order where the file has positions."""
    columns = (Columns.USER, Columns.ITEM, Columns.VALUE, Columns.TIME)
    if path.name.endswith((".dat", ".data")):
        return _cut(path, "::" if path.suffix == ".dat" else "\t", columns)
    frame = read_table(path)
    header = frame.columns
    later = {Columns.USER: "userId", Columns.ITEM: "movieId"} if "userId" in header else {}
    mapping = {**later, Columns.VALUE: "rating", Columns.TIME: "timestamp", Columns.ORDER: "position"}
    frame = canonical(frame, "events", mapping, path.name)
    return frame.select(*(name for name in (*columns, Columns.ORDER) if name in frame.columns))


def _movies(path: Path) -> pl.DataFrame:
    """item_id, title (with its year), genres separated by |."""
    columns = (Columns.ITEM, "title", "genres")
    if path.suffix == ".dat":
        return _cut(path, "::", columns)
    if path.name == "u.item":
        frame = _cut(path, "|", (Columns.ITEM, "title", "date", "video_date", "url", *GENRES_100K))
        flags = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in GENRES_100K[1:]]
        return frame.select(Columns.ITEM, "title", pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres"))
    return read_table(path).rename({"movieId": Columns.ITEM}, strict=False)


def _titles(movies: pl.DataFrame, options: MovielensImporter.Options) -> pl.DataFrame:
    """ "Matrix, The (1999)" to title "The Matrix" and year 1999."""
    title, year = pl.col("title"), r"\s*\((\d{4})(?:[-–]\d{0,4})?\)\s*$"
    bare = title.str.replace(year, "")
    if options.articles_first:
        bare = bare.str.replace(rf"^(.*), (?:(L')|({ARTICLES}))( \(.*\))?$", "${2}${3} ${1}${4}").str.replace("^L' ", "L'")
    genres = pl.col("genres").cast(pl.String)
    return movies.with_columns(
        bare.alias("title"),
        title.str.extract(year, 1).cast(pl.Int64).alias("year"),
        pl.when(genres != NO_GENRE).then(genres.str.split("|")).alias("genres"),
    ).select(Columns.ITEM, "title", "year", "genres")


def _users(path: Path) -> pl.DataFrame:
    """user_id, gender, age, occupation in words, zip."""
    if path.name == "u.user":  # 100K: the age in years and the occupation by name
        frame = _cut(path, "|", (Columns.USER, "age", "gender", "occupation", "zip"))
        years, band = pl.col("age").cast(pl.Int64, strict=False), pl.lit(None, dtype=pl.String)
        for bound, words in AGES.items():  # ascending: the last bound reached names the band
            band = pl.when(years >= int(bound)).then(pl.lit(words)).otherwise(band)
        return frame.with_columns(pl.col("gender").replace(GENDERS), band.alias("age"))
    frame = _cut(path, "::", (Columns.USER, "gender", "age", "occupation", "zip"))
    occupations = {str(code): name for code, name in enumerate(OCCUPATIONS)}
    return frame.with_columns(pl.col("gender").replace(GENDERS), pl.col("age").replace(AGES), pl.col("occupation").replace(occupations))


def _with_extra(items: pl.DataFrame, source: Path, account: Account) -> pl.DataFrame:
    path = _first(source, EXTRAS)
    if path is None:
        raise DataError(f"{source} has no {EXTRAS[0]}(.gz); leave the option extra out")
    extra = _cut(path, "::", EXTRA_COLUMNS).unique(Columns.ITEM, keep="first", maintain_order=True)
    account.add("movies with extra information", extra.height, path.name)
    known = [pl.when(pl.col(name) != "N/A").then(pl.col(name)).alias(name) for name in ("plot", "director", "actors")]
    listed = [pl.col(name).str.split(", ").alias(name) for name in ("director", "actors")]
    return items.join(extra.select(Columns.ITEM, *known).with_columns(listed), on=Columns.ITEM, how="left", maintain_order="left")
