"""The model card of an exported run: what it is, what it was tuned on, what it scored, whose licence, which base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from samis.evaluation.score_row import ScoreRow
from samis.sam.interface import Licence

SHOWN = ("s_measure", "weighted_f", "e_mean", "f_max", "iou", "mae")
HOW = {
    "peft": '`PeftModel.from_pretrained(sam, "peft")` on a Sam with the base weights below',
    "merged": '`sam_model_registry["{architecture}"](checkpoint="{file}")` of segment_anything',
    "own": "`segmenter.weights={file}` of SAM-IS (no registry of segment_anything builds this shape)",
    "onnx": "onnxruntime; the decoder has the inputs of segment_anything's own, and without points it finds all defects",
    "transformers": '`{class_name}.from_pretrained("transformers")` and `AutoProcessor.from_pretrained("transformers")`',
}
OWN_READER = {"SamHQModel": "5.24"}
"""Classes of transformers whose own forward is at fault, and the last version known to be: their masks are not the tuned ones."""


def model_card(
    *, config: Mapping[str, Any], provenance: Mapping[str, Any], base: Mapping[str, Any], rows: Sequence[ScoreRow],
    files: Mapping[str, str], official: bool, licence: Licence | None = None, class_name: str = "SamModel",
) -> str:  # fmt: skip
    """Return the card as Markdown.

    Args:
        config: the run's whole config.
        provenance: the run's provenance.json; with the calibration, if there is one, as ``calibration_record`` returns it.
        base: architecture and weights_sha256 of the SAM it was tuned from.
        rows: score rows of this run; may be empty.
        files: name -> format of what was exported.
        official: whether segment_anything's registry builds the shape.
        licence: of the base weights; None takes SAM's.
        class_name: transformers' class of the family.
    """
    licence = licence or Licence()
    architecture, data, adapter = base.get("architecture"), config["data"], config["adapter"]
    data_name = data.get("label") or data["name"]
    lines = [
        *_front_matter(licence),
        f"# {config['experiment']}",
        "",
        f"Segment Anything (`{architecture}`) tuned on surface defects by SAM-IS: adapter `{adapter['name']}`, prompt "
        f"`{config['prompt']['kind']}`. Mask 0 is the answer; masks 1 to 3 and the predicted IoU were not tuned.",
        "",
        "| | |",
        "|---|---|",
        f"| data | {data_name}, split `{data['train']}`, best epoch by `{config['keep_best']}` on `{data['val']}` |",
        f"| data fingerprint | `{provenance.get('data_fingerprint', 'not recorded')}` |",
        f"| base weights, sha256 | `{base.get('weights_sha256') or 'not recorded'}` |",
        f"| frame | {config['frame']['frame_px'] or 'native'} px, tiles {config['frame']['tile_px'] or 'none'} |",
        f"| threshold on validation | {_threshold(provenance)} |",
        f"| promises, calibrated on | {_calibrated(provenance)} |",
        f"| commit, torch | `{provenance.get('commit', 'unknown')}`, {provenance.get('versions', {}).get('torch', 'unknown')} |",
        "",
        "## Scores",
        "",
        *_scores(provenance, rows, str(data["val"])),
        "",
        *_promises(provenance),
        "## Files",
        "",
        "Each was loaded by the tool named and gave the tuned model's masks.",
        "",
    ]
    for name, kind in files.items():
        how = HOW["own" if kind == "merged" and not official else kind]
        lines.append(f"- `{name}`: {how.format(architecture=architecture, file=name, class_name=class_name)}")
    if "transformers" in files.values() and class_name in OWN_READER:
        lines += [
            "",
            f"{class_name} of transformers up to {OWN_READER[class_name]} computes its masks from the image embedding before the "
            "two-way transformer: read the folder with SAM-IS (`segmenter.weights`), which does not.",
        ]
    lines += ["", "## Licence", "", _licence(licence), ""]
    return "\n".join(lines)


def _front_matter(licence: Licence) -> list[str]:
    """Return the YAML head by which model hubs know the licence."""
    named = [f"license_name: {licence.name}", f"license_link: {licence.url}"] if licence.notice else []
    return ["---", f"license: {licence.spdx}", *named, "tags: [segment-anything, surface-defects]", "---", ""]


def _calibrated(provenance: Mapping[str, Any]) -> str:
    calibration = provenance.get("calibration")
    return calibration["images"] if calibration else "not calibrated; `samis calibrate RUN` does it"


def _promises(provenance: Mapping[str, Any]) -> list[str]:
    """Return the promises that the run can keep, as a section; nothing without a calibration."""
    calibration = provenance.get("calibration")
    if not calibration:
        return []
    lines = [
        "## Promises",
        "",
        f"By conformal risk control on {calibration['images']}; in the mean over such images, `samis predict RUN PHOTOS "
        "--miss-at-most` or `--false-alarms-at-most` keeps:",
        "",
        "| promise | threshold | sound surface marked |",
        "|---|---:|---:|",
    ]
    for each in calibration["promises"]:
        known = each["threshold"] is not None
        at, marked = (
            (f"{each['threshold']:.4g}", f"{each['marked']:.2%}")
            if known and "marked" in each
            else ("not attainable", "–")
        )
        lines.append(f"| {each['promise']} | {at} | {marked} |")
    return [*lines, ""]


def _licence(licence: Licence) -> str:
    images = "The images they were tuned on have licences of their own, and are not part of this folder."
    if licence.notice:
        return (
            f"These weights are tuned from weights under the {licence.name} ({licence.url}), which applies to them too; read it "
            f"before you pass them on or publish. {images}"
        )
    return f"These weights: {licence.name}, as those they were tuned from and those of SAM-IS. {images}"


def _threshold(provenance: Mapping[str, Any]) -> str:
    threshold = provenance.get("threshold")
    if not threshold:
        return "not recorded; SAM's own is 0.5"
    text = f"{threshold['value']:.3f} (mean IoU {threshold['iou']:.3f} there"
    if "kept_clean" in threshold:
        text += f"; {threshold['kept_clean']:.0%} of {threshold['clean_images']} clean images without a pixel above it"
    return f"{text})"


def _length(provenance: Mapping[str, Any], training: Mapping[str, Any]) -> str:
    """Return how long a run was: its epochs, and the minutes if the clock could end it."""
    epochs = training["epochs"]
    if not provenance.get("minutes"):
        return f"{epochs} epochs"
    return f"{provenance.get('epochs', epochs)} of {epochs} epochs in at most {provenance['minutes']:g} minutes"


def _scores(provenance: Mapping[str, Any], rows: Sequence[ScoreRow], val: str) -> list[str]:
    validation = provenance.get("validation") or {}
    columns = [name for name in SHOWN if name in validation or any(name in row.metrics for row in rows)]
    if not columns:
        return ["None are recorded."]
    lines = ["| split | images | protocol | " + " | ".join(columns) + " |", "|---|---:|---|" + "---:|" * len(columns)]

    def cells(metrics: Mapping[str, float]) -> str:
        return " | ".join(f"{metrics[name]:.4f}" if name in metrics else "" for name in columns)

    for row in rows:
        lines.append(f"| {row.dataset}, {row.split} | {row.n_images} | {row.protocol} | {cells(row.metrics)} |")
    notes = [_clean(row) for row in rows if row.clean and "defect_recall" in row.clean]
    if validation:
        lines.append(f"| `{val}` (chose the epoch) | | | {cells(validation)} |")
    if not rows:
        lines += ["", "There is no score on a test split; `samis score RUN` makes one."]
    return lines + [line for note in notes for line in ("", note)]


def _clean(row: ScoreRow) -> str:
    """Return what a row's test split with defect-free images showed, at the run's own threshold."""
    clean = row.clean or {}
    return (
        f"Clean parts, {row.split} split, at the threshold above: {clean['kept_clean']:.0%} of {clean['n_images']:.0f} defect-free "
        f"images kept clean (no pixel above it), {clean['defect_recall']:.0%} of the defective ones detected, image AUROC "
        f"{clean['image_auroc']:.3f}."
    )


def _shipped_table(
    config: Mapping[str, Any], provenance: Mapping[str, Any], base: Mapping[str, Any], size_mb: float
) -> list[str]:
    """Return the table of a shipped adapter's card; arguments as for ``shipped_card``."""
    data, frame, adapter, optim, training = (config[key] for key in ("data", "frame", "adapter", "optim", "training"))
    made, versions = provenance.get("made", {}), provenance.get("versions", {})
    torch = f"; torch {versions['torch']}" if "torch" in versions else ""
    code = made.get("code") or f"commit `{provenance.get('commit', 'unknown')}`"
    cut = f"; {provenance['cut']}, best epoch {provenance['best_epoch']}" if "cut" in provenance else ""
    tiles = f"tiles of {frame['tile_px']} px, overlap {frame['overlap']:g}" if frame["tile_px"] else "images whole"
    parts = ", ".join([*adapter["encoder"], *(f"decoder {word}" for word in adapter["decoder"])])
    data_name = data.get("label") or data["name"]
    side = f"{frame['frame_px']} px" if frame["frame_px"] else "the architecture's own"
    options = f", options {dict(data['options'])}" if data["options"] else ""
    return [
        "| | |",
        "|---|---|",
        f"| base | `{base.get('architecture')}`, sha256 `{base.get('weights_sha256')}` |",
        f"| weights | `best/adapter_model.safetensors`, {size_mb:.1f} MB in half precision (loaded as float32) |",
        f"| data | {data_name}, split `{data['train']}`{options}; best epoch by `{config['keep_best']}` on `{data['val']}` |",
        f"| data fingerprint | `{provenance.get('data_fingerprint', 'not recorded')}` |",
        f"| frame | {side}, {tiles} |",
        f"| recipe | {adapter['name']} (rank {adapter['rank']}) on {parts}; {_length(provenance, training)}, batch "
        f"{training['batch_size']}, lr {optim['lr']:g} (pretrained weights × {optim['pretrained_lr_scale']:g}), augmentation "
        f"`{data['augment']}`, precision {provenance.get('mixed_precision', training['mixed_precision'])}{cut} |",
        f"| tuned on | {made.get('hardware', 'not recorded')}; {code}{torch} |",
        f"| threshold on validation | {_threshold(provenance)} |",
    ]


def shipped_card(
    name: str, config: Mapping[str, Any], provenance: Mapping[str, Any], base: Mapping[str, Any], rows: Sequence[ScoreRow],
    *, size_mb: float,
) -> str:  # fmt: skip
    """Return the card of an adapter that ships with the project, as Markdown.

    Args:
        name: name of its folder.
        config: the run's whole config.
        provenance: the run's provenance.json; ``provenance["made"]`` holds what a person added.
        base: architecture and weights_sha256 of the SAM it was tuned from.
        rows: score rows of this run; may be empty.
        size_mb: size of the weights, 10^6 bytes.
    """
    data = config["data"]
    data_name = data.get("label") or data["name"]
    lines = [
        f"# {name}: a tuned adapter",
        "",
        f"Finds surface defects without a prompt: `{base.get('architecture')}` tuned on {data_name}. Use it by its name:",
        "",
        "```",
        f"samis predict {name} photos/ --out predictions",
        f"python -c \"import samis; print(samis.load_run('{name}').predict('photo.png'))\"",
        "```",
        "",
        *_shipped_table(config, provenance, base, size_mb),
        "",
        "## Scores",
        "",
        *_scores(provenance, rows, str(data["val"])),
        "",
        *_conditions(rows),
        "## Limits",
        "",
        f"- Made for surfaces like those of {data_name}: on another material, camera or light it has to be tuned again.",
        "- Mask 0 is the answer; masks 1 to 3 and the predicted IoU were not tuned.",
        *(f"- {note}" for note in provenance.get("made", {}).get("limits", "").split("|") if note),
        "",
        "Licence: Apache-2.0, as the project. The images it was tuned on have licences of their own and are not included.",
        "",
    ]
    return "\n".join(lines)


def _conditions(rows: Sequence[ScoreRow]) -> list[str]:
    """Return how the rows were scored, in one paragraph; nothing without rows."""
    if not rows:
        return []
    provenance = rows[0].provenance
    return [
        f"Test rows: protocol {rows[0].protocol}, no prompt, no test-time augmentation unless the row's name says so, float32, "
        f"torch {provenance.get('versions', {}).get('torch', 'unknown')}, frame {provenance.get('frame_px', 'unknown')} px. "
        "The validation row was measured in training, in its precision.",
        "",
    ]
