"""Opening a pack: whatever is wrong with it is said in a sentence, and leaves nothing behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

import pytest

from sway_dash.suite.pack_layout import UnpackError
from sway_dash.suite.pack_read import UnpackReport, unpack_swaypack

SPEC = b"models: {base: {base: org/m}, ft: {base: org/m, adapter: ./adapter}}\nsuite: []\n"


def manifest(**changes) -> bytes:
    return json.dumps({"swaypack_version": 1, "spec_filename": "sway.yaml", **changes}).encode()


def member(name: str, data: bytes = b"x", **about) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in about.items():
        setattr(info, key, value)
    return info, data


def whole(*more: tuple[tarfile.TarInfo, bytes], said: bytes | None = None) -> list[tuple[tarfile.TarInfo, bytes]]:
    """The members of a sound pack as other programs make them, without checksums, and some more."""
    given = member("swaypack/manifest.json", manifest() if said is None else said)
    return [given, member("swaypack/sway.yaml", SPEC), *more]


def write(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], **options) -> Path:
    with tarfile.open(path, "w:gz", **options) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def refused(pack: Path, tmp_path: Path, **options) -> str:
    """Unpacking fails in a sentence, and there is nothing that was not there before."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnpackError) as caught:
        unpack_swaypack(pack, target_dir=tmp_path / "new" / "folder", **options)
    assert sorted(tmp_path.rglob("*")) == before
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("suite", "why"),
    [
        (b"- a\n- list\n", "the file must be a mapping"),
        (b"models: {base: [", "invalid YAML"),
        (b"\xff\xfe", "is not UTF-8 text (byte 0)"),
        (b"", "it is empty"),
    ],
)
def test_a_pack_whose_suite_is_none_leaves_nothing_behind(tmp_path, suite, why):
    entries = [member("swaypack/manifest.json", manifest()), member("swaypack/sway.yaml", suite)]
    assert why in refused(write(tmp_path / "p.tar.gz", entries), tmp_path)


def test_what_fails_after_unpacking_leaves_nothing_behind(tmp_path):
    def then(report: UnpackReport) -> None:
        assert report.spec_path.is_file()
        raise UnpackError("it cannot be made to run here")

    assert "cannot be made" in refused(write(tmp_path / "p.tar.gz", whole()), tmp_path, then=then)


def test_a_pack_of_another_program_without_checksums_is_unpacked(tmp_path):
    pack = write(
        tmp_path / "p.tar.gz",
        [
            member("swaypack", b"", type=tarfile.DIRTYPE),
            *whole(
                member("swaypack/null-stats/a.json", b"{}"), said=manifest(spec_filename="mine.yaml", packed_at="x")
            ),
        ],
    )
    report = unpack_swaypack(pack, target_dir=tmp_path / "out")
    assert report.out_dir == tmp_path / "out" / "swaypack"
    assert report.spec_path.read_bytes() == SPEC
    assert report.null_stats_dir == report.out_dir / "null-stats"
    assert report.manifest["packed_at"] == "x"
    assert not report.verified
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["swaypack"]


def test_what_is_there_is_never_overwritten(tmp_path):
    pack = write(tmp_path / "p.tar.gz", whole())
    (tmp_path / "out" / "swaypack").mkdir(parents=True)
    with pytest.raises(UnpackError, match="refusing to overwrite"):
        unpack_swaypack(pack, target_dir=tmp_path / "out")
    assert list((tmp_path / "out" / "swaypack").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swaypack/../../escaped", "'..'"),
        ("../escaped", "'..'"),
        ("/etc/escaped", "absolute"),
        ("C:/escaped", "absolute"),
        ("swaypack/c:evil", "not every system"),
        ("swaypack\\..\\escaped", "backslash"),
        ("swaypack/./x", "empty part"),
        ("swaypack//x", "empty part"),
        ("swaypack/a\nb", "control"),
        ("swaypack/nul.txt", "not every system"),
        ("swaypack/x.", "not every system"),
        ("swaypack/" + "a/" * 20 + "x", "deep"),
        ("swaypack/" + "a" * 300, "more than 255"),
        ("other/file", "missing the expected 'swaypack/'"),
        ("swaypack", "missing the expected 'swaypack/'"),
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name, said):
    assert said in refused(write(tmp_path / "p.tar.gz", whole(member(name))), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    entry = member("swaypack/x", b"", type=kind, linkname="/etc/passwd")
    assert "plain files only" in refused(write(tmp_path / "p.tar.gz", whole(entry)), tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("a", "a"), "there twice"),
        (("Readme", "README"), "one name on some systems"),
        (("\u00e9", "e\u0301"), "one name on some systems"),
        (("a", "A/b"), "a file and a folder"),
        (("sway.yaml",), "there twice"),
    ],
)
def test_names_that_collide_are_refused(tmp_path, names, said):
    entries = [member(f"swaypack/{name}") for name in names]
    assert said in refused(write(tmp_path / "p.tar.gz", whole(*entries)), tmp_path)


def test_too_many_files_are_refused(tmp_path):
    entries = [member(f"swaypack/{n}", b"") for n in range(2001)]
    assert "more than 2000 files" in refused(write(tmp_path / "p.tar.gz", whole(*entries)), tmp_path)


def test_files_that_say_they_are_huge_are_refused(tmp_path):
    pack = tmp_path / "p.tar.gz"
    huge, _ = member("swaypack/huge")
    huge.size = 10**15
    with gzip.open(pack, "wb") as file:
        for info, data in whole():
            file.write(info.tobuf() + data + bytes(-len(data) % 512))
        file.write(huge.tobuf())
    assert "more than 2048.0 MB" in refused(pack, tmp_path)


def test_files_that_are_huge_are_refused(tmp_path):
    pack = write(tmp_path / "p.tar.gz", whole(member("swaypack/zeros", bytes(3 * 2**20))))
    assert pack.stat().st_size < 2**16
    assert "--max-size-mb" in refused(pack, tmp_path, max_bytes=2**20)


def test_a_header_that_asks_for_memory_is_refused(tmp_path):
    # The longest name a header may announce is read whole before anything can look at it.
    name, _ = member("././@LongLink", type=tarfile.GNUTYPE_LONGNAME)
    name.size = 2**31
    pack = tmp_path / "p.tar.gz"
    with gzip.open(pack, "wb") as file:
        file.write(name.tobuf(tarfile.GNU_FORMAT) + bytes(2**16))
    assert "header" in refused(pack, tmp_path)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"[1]", "no JSON object"),
        (b"{", "is no JSON"),
        (b"\xff", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (manifest(swaypack_version=99), "unsupported swaypack_version=99"),
        (manifest(swaypack_version=True), "unsupported swaypack_version=True"),
        (manifest(spec_filename="/etc/passwd"), "spec_filename"),
        (manifest(spec_filename="../sway.yaml"), "spec_filename"),
        (manifest(spec_filename=["sway.yaml"]), "spec_filename"),
        (manifest(spec_filename="manifest.json"), "another file"),
        (manifest(members=[]), "members"),
        (manifest(members={"sway.yaml": {"sha256": "0" * 64, "size": len(SPEC)}}), "checksum differs"),
        (manifest(members={"sway.yaml": None}), "checksum differs"),
        (manifest(members={}), "was added later"),
        (manifest(members={"sway.yaml": {}, "gone.txt": {}}), "gone.txt is missing"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path, said, text):
    assert text in refused(write(tmp_path / "p.tar.gz", whole(said=said)), tmp_path)


def test_a_file_that_was_changed_after_packing_is_refused(tmp_path):
    told = {"sway.yaml": {"sha256": hashlib.sha256(SPEC).hexdigest(), "size": len(SPEC)}}
    pack = write(tmp_path / "p.tar.gz", whole(said=manifest(members=told)))
    assert unpack_swaypack(pack, target_dir=tmp_path / "out").verified
    entries = whole(said=manifest(members=told))
    entries[1] = member("swaypack/sway.yaml", SPEC.replace(b"org/m", b"bad/m"))
    assert "checksum differs" in refused(write(tmp_path / "q.tar.gz", entries), tmp_path)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "empty"),
        ([member("swaypack/sway.yaml", SPEC)], "missing manifest.json"),
        ([member("swaypack/manifest.json", manifest())], "sway.yaml is missing"),
    ],
)
def test_what_every_pack_has_must_be_there(tmp_path, entries, said):
    assert said in refused(write(tmp_path / "p.tar.gz", entries), tmp_path)


def test_a_file_that_is_no_pack_is_refused(tmp_path):
    assert "not found" in refused(tmp_path / "no.tar.gz", tmp_path)
    assert "must be a file" in refused(tmp_path, tmp_path)
    other = tmp_path / "text.tar.gz"
    other.write_text("hello")
    assert "failed to extract" in refused(other, tmp_path)


def test_the_checksum_of_a_pack_is_looked_at_where_its_manifest_has_none(tmp_path):
    good = write(tmp_path / "good.tar.gz", whole(member("swaypack/data", b"x"))).read_bytes()
    for spoiled in (good[:-4], good[:-8] + bytes(4) + good[-4:]):
        (bad := tmp_path / "bad.tar.gz").write_bytes(spoiled)
        assert "failed to extract" in refused(bad, tmp_path)


def test_a_damaged_pack_never_gives_anything_but_a_sentence(tmp_path):
    data = bytes(random.Random(0).randbytes(3000))
    good = write(tmp_path / "good.tar.gz", whole(member("swaypack/data", data))).read_bytes()
    plain = gzip.decompress(good)
    chance = random.Random(1)
    bad = tmp_path / "bad.tar.gz"
    for attempt in range(150):
        if attempt % 3 == 0:
            spoiled = good[: chance.randrange(len(good))]
        else:
            # Inside the archive, where the checksum of gzip does not see it.
            inner = bytearray(plain)
            for _ in range(3):
                inner[chance.randrange(len(inner))] = chance.randrange(256)
            spoiled = gzip.compress(bytes(inner), 1)
        bad.write_bytes(spoiled)
        target = tmp_path / f"out{attempt}"
        try:
            unpack_swaypack(bad, target_dir=target)
        except UnpackError:
            assert not target.exists()
