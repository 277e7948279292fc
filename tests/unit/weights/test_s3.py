"""Models in a bucket, over real HTTP, and over HTTP that breaks."""

from pathlib import Path

import pytest

from app.config.weights import S3Config
from app.errors import WeightsUnavailable
from app.weights.manifest import SIGNATURE_FILE, Manifest
from app.weights.refusal import Reason
from app.weights.s3 import S3Place
from app.weights.signing import sign_model
from app.weights.source import S3Source
from tests.unit.weights.buckets import PART, Asked, Bucket, Fault, Faulty, through
from tests.unit.weights.signed import KEY, make_model, refused, safetensors, verify

BIG = "big.safetensors"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    root = make_model(tmp_path / "tiny")
    data = bytes(range(256)) * 1024
    (root / BIG).write_bytes(safetensors({"big": ("U8", [len(data)], data)}))
    return root


@pytest.fixture
def manifest(model: Path, bucket: Bucket) -> Manifest:
    sign_model(model, "tiny", 3, KEY)
    bucket.upload(model)
    return verify(model)


class Into:
    def __init__(self, folder: Path) -> None:
        self.folder, self.done = folder, 0
        for name in ("files", "parts"):
            (folder / name).mkdir(parents=True)

    def fetch(self, place: S3Place, manifest: Manifest) -> None:
        place.check(manifest)
        place.fetch(manifest, self.folder, self.count)

    def count(self, size: int) -> None:
        self.done += size

    def is_right(self, model: Path, manifest: Manifest) -> bool:
        files = self.folder / "files"
        return all((files / n).read_bytes() == (model / n).read_bytes() for n in manifest.weights)


@pytest.fixture
def into(tmp_path: Path) -> Into:
    return Into(tmp_path / "into")


def test_everything_is_there(model: Path, manifest: Manifest, bucket: Bucket, into: Into) -> None:
    place = bucket.place
    assert place.signature() == (model / SIGNATURE_FILE).read_bytes()
    assert place.read("config.json", 9999) == (model / "config.json").read_bytes()
    assert len(place.read("config.json", 5)) == 6
    into.fetch(place, manifest)
    assert into.is_right(model, manifest)
    assert (
        into.done
        == place.size_of(manifest.weights)
        == sum(manifest.sizes[name] for name in manifest.weights)
    )
    assert not any((into.folder / "parts").iterdir())


def test_an_unsigned_model(bucket: Bucket) -> None:
    with refused(Reason.UNSIGNED, f"{bucket.source}/model.sig", "tidegate model push"):
        bucket.place.signature()


def test_other_files_in_the_bucket(manifest: Manifest, bucket: Bucket) -> None:
    # Neither a folder's marker nor what version control leaves is a file of the model.
    bucket.put("text/", b"")
    bucket.put(".gitattributes", b"x")
    bucket.place.check(manifest)
    bucket.put("run.txt", b"x")
    with refused(Reason.EXTRA_FILE, "run.txt"):
        bucket.place.check(manifest)
    bucket.remove("run.txt")
    bucket.put("a/../config.json", b"x")
    with refused(Reason.BAD_PATH, ".."):
        bucket.place.check(manifest)


def test_a_prefix_is_no_beginning_of_another(manifest: Manifest, bucket: Bucket) -> None:
    bucket.client.put_object(Bucket=bucket.name, Key="models/tiny-2/x.txt", Body=b"x")
    bucket.place.check(manifest)


def test_a_missing_or_longer_file(manifest: Manifest, bucket: Bucket) -> None:
    bucket.put("config.json", b"x")
    with refused(Reason.CHANGED_FILE, "config.json", "1 bytes"):
        bucket.place.check(manifest)
    bucket.remove("config.json")
    with refused(Reason.MISSING_FILE, "config.json"):
        bucket.place.check(manifest)


def test_another_object_of_the_same_length(
    manifest: Manifest,
    bucket: Bucket,
    into: Into,
) -> None:
    bucket.put(BIG, bytes(manifest.sizes[BIG]))
    with refused(Reason.CHANGED_FILE, BIG):
        into.fetch(bucket.place, manifest)
    assert not (into.folder / "files" / BIG).exists()
    assert not any((into.folder / "parts").iterdir())


def test_an_object_that_is_swapped_midway(
    manifest: Manifest,
    bucket: Bucket,
    into: Into,
) -> None:
    place = bucket.place
    place.check(manifest)
    # The same bytes: it is noticed by what it is, not by what is in it.
    data = bucket.get(BIG)
    bucket.put(BIG, b"?" * len(data))
    with refused(Reason.CHANGED_FILE, BIG):
        into.fetch(place, manifest)
    assert place.fetched == 0


def test_broken_streams_are_begun_again(
    model: Path,
    manifest: Manifest,
    bucket: Bucket,
    faulty: Faulty,
    into: Into,
) -> None:
    broken: set[str] = set()

    def choose(asked: Asked) -> Fault:
        if asked.range is None or asked.range in broken:
            return Fault.NONE
        broken.add(asked.range)
        return Fault.CUT

    faulty.choose = choose
    into.fetch(through(bucket, faulty), manifest)
    assert into.is_right(model, manifest)
    assert len(faulty.ranges(BIG)) == 2 * 5
    assert into.done == sum(manifest.sizes[name] for name in manifest.weights)


def test_a_busy_service_is_asked_again(
    model: Path,
    manifest: Manifest,
    bucket: Bucket,
    faulty: Faulty,
    into: Into,
) -> None:
    once = f"bytes={PART}-{2 * PART - 1}"

    def choose(asked: Asked) -> Fault:
        first = [other for other in faulty.asked if other.range == once][:1] == [asked]
        return Fault.BUSY if first else Fault.NONE

    faulty.choose = choose
    into.fetch(through(bucket, faulty), manifest)
    assert into.is_right(model, manifest)


def test_it_gives_up_and_goes_on_later(
    model: Path,
    manifest: Manifest,
    bucket: Bucket,
    faulty: Faulty,
    into: Into,
) -> None:
    last = f"bytes={3 * PART}-{4 * PART - 1}"
    faulty.choose = lambda asked: Fault.CUT if asked.range == last else Fault.NONE
    with pytest.raises(WeightsUnavailable, match=rf"{BIG}.*weights\.s3"):
        into.fetch(through(bucket, faulty, retries=1), manifest)
    assert [asked.range for asked in faulty.asked].count(last) == 2
    place = bucket.place
    into.fetch(place, manifest)
    assert into.is_right(model, manifest)
    others = sum(manifest.sizes[name] for name in manifest.weights if name != BIG)
    assert place.fetched == manifest.sizes[BIG] - 3 * PART + others


def test_a_flipped_bit_on_the_way(
    manifest: Manifest,
    bucket: Bucket,
    faulty: Faulty,
    into: Into,
) -> None:
    second = f"bytes={PART}-{2 * PART - 1}"
    faulty.choose = lambda asked: Fault.FLIP if asked.range == second else Fault.NONE
    with refused(Reason.CHANGED_FILE, BIG):
        into.fetch(through(bucket, faulty), manifest)


def test_a_service_without_ranges(
    manifest: Manifest,
    bucket: Bucket,
    faulty: Faulty,
    into: Into,
) -> None:
    faulty.choose = lambda asked: Fault.WHOLE if asked.path.endswith(BIG) else Fault.NONE
    with pytest.raises(WeightsUnavailable, match="Range header"):
        into.fetch(through(bucket, faulty), manifest)


@pytest.mark.usefixtures("credentials")
@pytest.mark.parametrize(
    ("endpoint", "word"),
    [
        ("http://127.0.0.1:9", "weights.s3.endpoint"),
        ("http://user:secret-word@127.0.0.1:9", "weights.s3.endpoint"),
        ("not a url", "weights.s3.endpoint"),
    ],
)
def test_a_service_that_is_not_there(endpoint: str, word: str) -> None:
    place = S3Place(S3Source("weights", "tiny"), S3Config(endpoint=endpoint, retries=0))
    with pytest.raises(WeightsUnavailable, match=word) as caught:
        place.signature()
    assert "not-to-be-repeated" not in str(caught.value)
    assert "secret-word" not in str(caught.value)


def test_a_bucket_that_is_not_there(bucket: Bucket) -> None:
    place = S3Place(S3Source("no-such-bucket", "tiny"), bucket.config)
    with pytest.raises(WeightsUnavailable, match=r"no-such-bucket.*NoSuchBucket"):
        place.signature()
    with pytest.raises(WeightsUnavailable, match=r"no-such-bucket.*NoSuchBucket"):
        _ = place.stored


def test_no_credentials(s3_server: str, credentials: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    place = S3Place(S3Source("weights", "tiny"), S3Config(endpoint=s3_server))
    with pytest.raises(WeightsUnavailable, match="AWS_PROFILE"):
        place.signature()
