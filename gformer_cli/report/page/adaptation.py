"""The page of unlabelled images that were adapted to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gformer_cli.adapt.estimates import CAUTION, Estimate
from gformer_cli.adapt.sample import Sample
from gformer_cli.console import amount, percent
from gformer_cli.report.page import figures, views
from gformer_cli.report.page.figures import Figure
from gformer_cli.report.page.guarding import COLOURS
from gformer_cli.report.page.rendering import render
from gformer_cli.report.page.styles import styles

_BEFORE, _AFTER = "source model", "adapted"


def adaptation_page(
    sample: Sample,
    guessed: Mapping[str, Estimate],
    bundle: Mapping[str, Any],
    run: Mapping[str, Any],
    versions: Mapping[str, str],
) -> str:
    """The page; `guessed` are accuracies by target, `bundle` is what identifies the bundle, `run` how this was made.
    At least one image was predicted."""
    known = styles([_BEFORE, _AFTER], subject=_AFTER, reference=_BEFORE)
    drawn = figures.histograms("confidence", {_BEFORE: sample.bins_before, _AFTER: sample.bins_after}, known)
    words = "How sure the predictions are, before and after adapting. Sure is not right."
    guarded = run.get("guard") != "off"
    pictures = [picture for target in sample.targets.values() for picture in target.pictures]
    return render(
        "adaptation.html",
        bundle=bundle,
        run=run,
        versions=versions,
        styles=known,
        guarded=guarded,
        sentences=[*_sentences(sample, guarded=guarded), *_guess(guessed)],
        classes=_classes(sample),
        changes=views.change_tables(sample.answers, sample.classes, _BEFORE, _AFTER),
        confidence=Figure(drawn, words, f"{words} The table by target has the means."),
        targets=_targets(sample, guessed, guarded=guarded),
        caution=CAUTION if guessed else "",
        groups=[
            ("Label changed", [picture for picture in pictures if picture.changed]),
            ("Label kept", [picture for picture in pictures if not picture.changed]),
        ],
    )


def _sentences(sample: Sample, *, guarded: bool) -> list[str]:
    images = sum(target.images for target in sample.targets.values())
    changed = sum(target.changed for target in sample.targets.values())
    trust = [
        sum(getattr(target, name) for target in sample.targets.values()) / images
        for name in ("confidence_before", "confidence_after")
    ]
    decisions = {name: sum(target.decisions[name] for target in sample.targets.values()) for name in COLOURS}
    batches = sum(target.batches for target in sample.targets.values())
    return [
        f"{amount(images, 'image was', 'images were')} predicted in {amount(batches, 'batch', 'batches')}; "
        f"adapting changed the label of {changed} of them "
        f"({percent(changed / images)} %).",
        f"Mean confidence went from {percent(trust[0])} % to {percent(trust[1])} %.",
        f"Batches by the guard's decision: {', '.join(f'{count} {name}' for name, count in decisions.items())}."
        if guarded
        else "No guard has looked at the batches: each was predicted with what was generated.",
    ]


def _guess(guessed: Mapping[str, Estimate]) -> list[str]:
    """Of the worst target and of the best."""
    if not guessed:
        return []
    low, high = (pick(guessed.values(), key=lambda found: found.accuracy) for pick in (min, max))
    if low is high:
        share = f"{percent(low.accuracy)} % (95 % interval {percent(low.low)} to {percent(low.high)}) of the"
    else:
        share = f"{percent(low.accuracy)} to {percent(high.accuracy)} % of a target's"
    return [f"As far as can be guessed without labels, {share} adapted labels are right."]


def _classes(sample: Sample) -> views.Table:
    rows = [
        [
            views.name(name),
            *(views.number(float(count), "{:.0f}".format) for count in (sample.before[name], sample.after[name])),
            views.number(float(sample.after[name] - sample.before[name]), "{:+.0f}".format),
        ]
        for name in sorted(sample.classes, key=lambda name: -sample.after[name])
    ]
    return views.Table("Images by predicted class", ["class", _BEFORE, _AFTER, "change"], rows)


def _targets(sample: Sample, guessed: Mapping[str, Estimate], *, guarded: bool) -> views.Table:
    rows = [
        [
            views.name(name),
            *(views.number(float(count), "{:.0f}".format) for count in (found.batches, found.images, found.changed)),
            views.number(found.confidence_before / found.images, percent),
            views.number(found.confidence_after / found.images, percent),
            *([_accuracy(guessed.get(name))] if guessed else []),
            *(views.number(float(found.decisions[decision]), "{:.0f}".format) for decision in COLOURS if guarded),
        ]
        for name, found in sample.targets.items()
    ]
    columns = ["target", "batches", "images", "labels changed", "confidence before, %", "confidence after, %"]
    columns += ["accuracy as guessed, %"] if guessed else []
    if not guarded:
        return views.Table("By target", columns, rows)
    return views.Table("By target; the last columns count batches by the guard's decision", [*columns, *COLOURS], rows)


def _accuracy(found: Estimate | None) -> views.Value:
    if found is None:
        return views.Value("")
    return views.Value(percent(found.accuracy), found.accuracy, f"{percent(found.low)} to {percent(found.high)}")
