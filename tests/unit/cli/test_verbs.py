"""The ``samis`` command: what every verb answers, what a mistake looks like, and that the overview waits for nothing."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from samis.cli import VERBS, main
from samis.cli.parser import build
from samis.jobs.demo import steps

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_that_its_own_parser_takes(verb, monkeypatch, capsys):
    parser = build(verb, prog=f"samis {verb}")
    examples = parser.epilog.splitlines()[1:]
    assert len(examples) >= 2
    used = [line.strip().removeprefix('eval "$(').partition(')"')[0] for line in examples]
    for line in used:
        words = line.partition("   ")[0].partition(" > ")[0].replace("'", "").replace('"', "").split()
        assert words[:2] == ["samis", verb]
        if verb not in ("how-long", "ship"):
            build(verb).read(words[2:])
    assert "examples:" in parser.format_help()


def test_scripts_and_verbs_are_the_same():
    scripts = sorted([*(ROOT / "train").glob("*.py"), *(ROOT / "evaluate").glob("*.py")])
    named = [path.read_text().partition('script("')[2].partition('"')[0] for path in scripts]
    assert set(filter(None, named)) == set(VERBS) - {"demo", "metrics", "completion"}
    assert all(len(path.read_text().splitlines()) <= 12 for path, name in zip(scripts, named, strict=True) if name)


@pytest.mark.parametrize(
    ("words", "word", "code"),
    [
        (["trian", "steel_lora"], "train", "E-CONFIG-OPTION"),
        (["train", "steel_lorra"], "steel_lora", "E-CONFIG-MISSING"),
        (["train", "steel_lora", "--epochs", "5"], "training.epochs=5", "E-CONFIG-OPTION"),
        (["train", "unet"], "samis baseline", "E-CONFIG-NETWORK"),
        (["baseline", "steel_lora"], "samis train", "E-CONFIG-NETWORK"),
        (["predict", "steel", "photos", "--boxs", "3"], "--box?", "E-CONFIG-OPTION"),
        (["score", "steeel"], "steel", "E-TRAIN-NO-RUN"),
        (["how-long", "nothing"], "nothing", "E-CONFIG-OPTION"),
        (["export"], "run", "E-CONFIG-OPTION"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words, word, code, capsys):
    with pytest.raises(SystemExit) as ended:
        main(words)
    line = capsys.readouterr().err
    assert ended.value.code == 2 and line.startswith("error: ") and line.count("\n") == 1
    assert word in line and line.endswith(f"[{code}]\n")


def test_the_overview_names_every_verb_and_imports_no_library(tmp_path):
    code = (
        "import sys; before = set(sys.modules); from samis.cli import main; main(['--help'])\n"
        "print(sorted({'torch', 'numpy', 'pydantic', 'yaml', 'argparse'} & set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    *overview, heavy = done.stdout.splitlines()
    assert heavy in ("[]", "['argparse']")
    assert all(any(line.startswith(f"  {verb} ") for line in overview) for verb in VERBS)


def test_output_that_nobody_reads_is_no_error():
    pytest.importorskip("shtab")
    command = f"{sys.executable} -m samis completion bash | head -c 10; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "# AUTOMATI" and done.stderr == "" and done.returncode in (0, 141)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_completion_proposes_the_names_that_come_along(capsys):
    main(["completion", "bash"])
    script = capsys.readouterr().out + "\n_samis_names steel; true"
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, check=True, timeout=60)
    assert {"steel", "steel_lora"} <= set(done.stdout.split()) and "demo" not in done.stdout.split()


def test_completion_knows_verbs_and_options(capsys):
    pytest.importorskip("shtab")
    main(["completion", "bash"])
    script = capsys.readouterr().out
    assert f"_shtab_samis_subparsers=({' '.join(VERBS)})" in script and "--save-maps" in script
    assert subprocess.run(["bash", "-n"], input=script, text=True).returncode == 0


@pytest.mark.parametrize("quick", [False, True])
def test_the_demo_goes_from_zero_shot_to_the_report_with_arguments_that_verbs_take(quick):
    todo = steps(quick=quick)
    assert [words[0] for words in todo] == ["score"] * 3 + ["baseline", "train", "score", "score", "compare"]
    for words in todo:
        build(words[0]).read(words[1:])
