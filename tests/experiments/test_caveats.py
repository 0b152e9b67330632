"""Rules that do not do what one may think are named before an experiment runs, once."""

from rewire.experiments import cli, store

TINY = ("data=digits", "steps=40", "evaluate_every=40", "densities=[.2,.1]", "seeds=1",
        "contrasts=[]", "rules=[Static,RigL,STR]")  # fmt: skip
SAID = ("RigL: RigL never acts in 40 steps: Every(n=100, first=None, stop=0.75) is due at none",
        "STR: STR does not promise the density 0.2, 0.1: its thresholds are learnt")  # fmt: skip


def test_a_dry_run_and_a_run_say_it_once_and_results_show_what_was_reached(tmp_path, capfd):
    out = tmp_path / "run"
    run = ["run", "quickstart", *TINY, "--out", str(out), "--workers", "0"]
    for more in (["--dry-run"], []):
        assert cli.main([*run, *more]) == 0
        warned = " ".join(capfd.readouterr().err.split())
        assert all(warned.count(text) == 1 for text in SAID)
        assert "Static" not in warned
    rows = [row for row in store.results(out, listed=True) if row["label"] == "STR"]
    assert [row["requested_density"] for row in rows] == [0.2, 0.1]
    assert all(row["density"] > 0.5 for row in rows)  # 40 steps do not bring it far
    assert cli.main(["results", str(out)]) == 0
    shown = capfd.readouterr().out
    assert "asked" in shown and f"{rows[0]['density']:.4g}" in shown
    assert ">asked<" in (out / "report.html").read_text()  # beside the density reached


def test_a_rule_with_a_density_of_its_own_is_refused_beside_others(capfd):
    rules = 'rules=[{rule="GraNet",to=0.1,when=10}]'
    assert cli.main(["run", "quickstart", *TINY, rules, "densities=[.6]", "--dry-run"]) == 2
    assert "leave out `to`" in capfd.readouterr().err
