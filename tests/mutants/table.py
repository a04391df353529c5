"""Wrong versions of single lines, each with the tests that must fail on it.

A row is (file, right text, wrong text, tests). The right text occurs exactly once in the file, so that a row whose line has
moved is noticed. Add a row whenever a test is written for a line that could be wrong in silence.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One wrong version.

    Attributes:
        name: unique, says what is wrong.
        file: changed file, relative to the repository's root.
        right, wrong: text of the file, and what replaces it.
        tests: pytest arguments of the tests of which at least one must fail.
    """

    name: str
    file: str
    right: str
    wrong: str
    tests: str


FRAME, FRAME_TESTS = "samis/core/geometry.py", "tests/unit/core/test_geometry.py"
LOSSES, LOSS_TESTS = "samis/core/losses.py", "tests/unit/core/test_losses.py"
EVALUATOR, EVALUATOR_TESTS = "samis/evaluation/evaluator.py", "tests/unit/evaluation/test_evaluator.py"
SCORING, SCORING_TESTS = "samis/jobs/score.py", "tests/unit/jobs/test_score.py"
CONFIG, CONFIG_TESTS = "samis/config/fields.py", "tests/unit/test_config_rules.py"
REPORT_TESTS = "tests/unit/reporting/render/test_report.py"
INTERVALS = "samis/evaluation/intervals.py"
GAP, GAP_TESTS = "samis/reporting/analysis/gap.py", "tests/unit/reporting/analysis/test_gap.py"
MERGE, MERGE_TESTS = "samis/sam/merge.py", "tests/unit/sam/test_merge.py"
OPTIM, TRAINER, TRAINER_TESTS = (
    "samis/training/optim.py", "samis/training/trainer.py", "tests/unit/training/test_trainer.py",
)  # fmt: skip
STEPPING, STEPPING_TESTS = "samis/training/stepping.py", "tests/unit/training/test_stepping.py"
FORMULAS = "tests/unit/metrics/test_metrics_formulas.py"
PYSOD = "tests/reference/test_metrics_pysod.py"

MUTANTS = [
    # Geometry
    Mutant(
        "tiles_blend_with_flat_weights",
        FRAME,
        "torch.minimum(steps + 1, length - steps) / ((length + 1) / 2)",
        "torch.ones_like(steps)",
        FRAME_TESTS,
    ),
    Mutant(
        "last_tile_wins",
        FRAME,
        "total[y0:y1, x0:x1] += to_crop(framed[view].float(), placements[view])[0] * edge_weight\n"
        "            weight[y0:y1, x0:x1] += edge_weight",
        "total[y0:y1, x0:x1] = to_crop(framed[view].float(), placements[view])[0] * edge_weight\n"
        "            weight[y0:y1, x0:x1] = edge_weight",
        FRAME_TESTS,
    ),
    Mutant(
        "scaled_size_truncates", FRAME, "max(1, int(height * scale + 0.5))", "max(1, int(height * scale))", FRAME_TESTS
    ),
    Mutant(
        "tiles_do_not_reach_the_end",
        FRAME,
        "count = int(np.ceil((length - tile) / step)) + 1",
        "count = int(np.floor((length - tile) / step)) + 1",
        FRAME_TESTS,
    ),
    Mutant(
        "points_swap_axes",
        FRAME,
        "scale = np.array([placement.scaled_hw[1] / (x1 - x0), placement.scaled_hw[0] / (y1 - y0)], np.float32)",
        "scale = np.array([placement.scaled_hw[0] / (y1 - y0), placement.scaled_hw[1] / (x1 - x0)], np.float32)",
        FRAME_TESTS,
    ),
    Mutant("padding_is_not_cut", FRAME, "cut = framed[None, :, :height, :width]", "cut = framed[None]", FRAME_TESTS),
    # Schedule and optimiser
    Mutant("no_warmup", OPTIM, "warmup = round(total * warmup_share)", "warmup = 0", TRAINER_TESTS),
    Mutant("cosine_ends_at_zero", OPTIM, "return final_share + (1 - final_share) * 0.5", "return 0.5", TRAINER_TESTS),
    Mutant(
        "everything_decays",
        OPTIM,
        'config.weight_decay if group["decay"] else 0.0',
        "config.weight_decay",
        TRAINER_TESTS,
    ),
    Mutant("groups_share_one_rate", OPTIM, 'lr = config.lr * group["lr_scale"]', "lr = config.lr", TRAINER_TESTS),
    # The loop
    Mutant(
        "clipping_is_off",
        STEPPING,
        "        if self.clip_norm:\n",
        "        if False:\n",
        f"{STEPPING_TESTS} -kclipped",
    ),
    Mutant(
        "micro_batches_weigh_alike",
        STEPPING,
        "share = self.accelerator.num_processes * batch.counted / images",
        "share = 1 / len(group)",
        f"{STEPPING_TESTS} -knine_images",
    ),
    Mutant(
        "a_step_that_is_no_number_changes_weights",
        STEPPING,
        "found_inf = nan_flag.isnan().float()",
        "found_inf = torch.zeros_like(nan_flag)",
        f"{STEPPING_TESTS} -kbad_step",
    ),
    Mutant(
        "ema_is_not_what_is_validated",
        "samis/training/validation.py",
        "with self.run.ema.applied():\n            evaluation",
        "if True:\n            evaluation",
        f"{STEPPING_TESTS} -kema_is_validated",
    ),
    Mutant(
        "minutes_are_ignored",
        "samis/training/time_limit.py",
        "return self.limit_s > 0 and self.progress >= 1",
        "return False",
        "tests/unit/training/test_time_limit.py -kin_the_middle",
    ),
    Mutant(
        "changed_data_are_not_compared",
        "samis/training/state/run_folder.py",
        "differ = [name for name in new if old[-1].get(name) != new[name]]",
        "differ: list[str] = []",
        "tests/unit/training/test_changed_data.py -krefused",
    ),
    Mutant(
        "the_best_of_other_validation_images_stands",
        "samis/training/state/run_state.py",
        "other = {name for name in self.data if name != TRAINED_ON and before.get(name) != self.data[name]}",
        "other: set[str] = set()",
        "tests/unit/training/test_changed_data.py -kaccepted_validation",
    ),
    # Which images take part
    Mutant(
        "clean_photos_are_not_drawn",
        "samis/data/pipeline/sampling.py",
        "return self._defective + rounds * self._clean + [self._clean[place] for place in drawn]",
        "return self._defective",
        "tests/unit/data/pipeline/test_sampling.py",
    ),
    Mutant(
        "division_by_tile_is_ignored",
        "samis/data/public/magnetic_tile.py",
        "lists, free = DIVISIONS[division],",
        'lists, free = DIVISIONS["usual"],',
        "tests/unit/data/public/test_datasets.py -kown_lists",
    ),
    Mutant(
        "configs_division_is_dropped",
        "samis/data/__init__.py",
        'chosen["division"] = chosen.pop("split")',
        'chosen.pop("split")',
        "tests/unit/data/public/test_datasets.py -kown_lists",
    ),
    Mutant(
        "flips_are_not_mirrored_back",
        "samis/tta.py",
        "back = [values.flip(axes) for values in maps]",
        "back = list(maps)",
        "tests/unit/test_tta.py -kserves_any",
    ),
    # Metrics by name
    Mutant(
        "cohen_kappa_as_pysodmetrics",
        "samis/metrics/rates.py",
        "(missed + left) * (size - area)) / size**2",
        "(missed + left) * (left + hit)) / size**2",
        "tests/reference/test_metrics_optional.py -kcohen",
    ),
    Mutant(
        "float_maps_are_rounded_on_the_device",
        "samis/metrics/on_device.py",
        "if floats and not is_bytes(image, _quantise(image), torch.finfo(image.dtype).eps):\n",
        "if floats and (image := _quantise(image)) is None:\n",
        "tests/unit/metrics/test_metrics_sets.py -kfaint",
    ),
    Mutant(
        "defects_have_the_weight_of_background",
        "samis/metrics/surround.py",
        "    weights[0] = 0\n",
        "",
        "tests/unit/metrics/test_surround.py",
    ),
    Mutant(
        "nearest_pixels_uppermost_first",
        "samis/metrics/surround.py",
        "    for dx in reach:\n        for dy in reach:\n",
        "    for dy in reach:\n        for dx in reach:\n",
        "tests/unit/metrics/test_surround.py",
    ),
    Mutant(
        "stacked_maps_share_their_counts",
        "samis/metrics/counted.py",
        "places = rows * 256 + reached[..., None, :]",
        "places = rows * 0 + reached[..., None, :]",
        "tests/unit/metrics/test_stack.py",
    ),
    Mutant(
        "coloured_png_maps_pass",
        "samis/metrics/grey.py",
        "return first if all(np.array_equal(first, other) for other in others) else None",
        "return first",
        "tests/unit/metrics/test_grey.py",
    ),
    Mutant(
        "tiff_differences_stay",
        "samis/data/mapped.py",
        "return np.add.accumulate(part, axis=1, dtype=np.uint8) if tags.get(317, 1) == 2 else part",
        "return part",
        "tests/unit/data/test_mapped.py -kpredictor",
    ),
    Mutant(
        "weights_of_rows_still_to_come_are_dropped",
        "samis/prediction/predictor.py",
        "min(p.crop_xyxy[1] for p in placements[start:]) - 1)",
        "min(p.crop_xyxy[1] for p in placements[start:]) + 3)",
        "tests/unit/prediction/test_predictor.py -kblended",
    ),
    # Losses
    Mutant(
        "balance_counts_padding",
        LOSSES,
        "weight = weight * _class_weight(truth, weight, balance)",
        "weight = weight * _class_weight(truth, torch.ones_like(weight), balance)",
        LOSS_TESTS,
    ),
    Mutant(
        "focal_alpha_on_the_surface",
        LOSSES,
        "(alpha * truth + (1 - alpha) * (1 - truth))",
        "(alpha * (1 - truth) + (1 - alpha) * truth)",
        LOSS_TESTS,
    ),
    Mutant(
        "dice_without_smoothing",
        LOSSES,
        "return 1 - (2 * overlap + smooth) / (predicted + wanted + smooth)",
        "return 1 - 2 * overlap / (predicted + wanted + 1e-6)",
        LOSS_TESTS,
    ),
    Mutant(
        "iou_counts_overlap_twice",
        LOSSES,
        "(predicted + wanted - overlap + smooth)",
        "(predicted + wanted + smooth)",
        LOSS_TESTS,
    ),
    Mutant("ssim_constants_swapped", LOSSES, "c1, c2 = 0.01**2, 0.03**2", "c1, c2 = 0.03**2, 0.01**2", LOSS_TESTS),
    Mutant("edge_includes_padding", LOSSES, "return grown * eaten * shown", "return grown * eaten", LOSS_TESTS),
    # Evaluator
    Mutant("evaluator_90_percent_interval", INTERVALS, "[2.5, 97.5]", "[5, 95]", EVALUATOR_TESTS),
    Mutant("evaluator_missing_image_passes", EVALUATOR, "if missing:", "if False:", EVALUATOR_TESTS),
    Mutant(
        "evaluator_clean_images_in_means",
        EVALUATOR,
        "if truth.any() or self.protocol in SCORES_CLEAN:",
        "if True:",
        EVALUATOR_TESTS,
    ),
    Mutant(
        "evaluator_counts_no_empty_maps",
        EVALUATOR,
        '"empty_map": not map_u8.any()',
        '"empty_map": False',
        EVALUATOR_TESTS,
    ),
    Mutant("evaluator_counts_no_full_maps", EVALUATOR, "low == high > 0", "False", EVALUATOR_TESTS),
    # Rows
    Mutant("row_replaced_unasked", SCORING, "if not overwrite:", "if False:", SCORING_TESTS),
    Mutant(
        "row_file_without_protocol",
        "samis/evaluation/row_files.py",
        "if self.protocol == PROTOCOL else",
        "if True else",
        SCORING_TESTS,
    ),
    Mutant(
        "map_folder_without_noise",
        SCORING,
        "label, of_split = row_label(config.data, dataset), row_split(config.data, dataset)",
        "label, of_split = row_label(config.data, dataset), dataset.split",
        SCORING_TESTS,
    ),
    Mutant(
        "formula_in_per_image_values",
        "samis/evaluation/score_row.py",
        "str(text_cell(value))",
        "str(value)",
        REPORT_TESTS,
    ),
    Mutant(
        "apostrophe_kept_on_reading",
        "samis/evaluation/rows.py",
        "        return plain_text(text)\n    try:",
        "        return text\n    try:",
        REPORT_TESTS,
    ),
    Mutant("degenerate_row_is_best", "samis/evaluation/rows.py", "and not row.degenerate", "", REPORT_TESTS),
    Mutant(
        "degenerate_cells_are_ranked",
        "samis/reporting/analysis/table.py",
        "if not row.degenerate and",
        "if",
        REPORT_TESTS,
    ),
    # Gap
    Mutant(
        "gap_90_percent_interval",
        INTERVALS,
        "low, high = np.percentile(values, [2.5, 97.5])",
        "low, high = np.percentile(values, [5, 95])",
        GAP_TESTS,
    ),
    Mutant("gap_ignores_direction", GAP, "sign = direction(metric, rows)", "sign = 1", GAP_TESTS),
    Mutant(
        "gap_pairs_by_order",
        GAP,
        "ids = sorted(tables[0])\n    for row, table in zip(rows, tables, strict=True):",
        "ids = list(tables[0])\n    tables = [dict(zip(ids, t.values())) for t in tables]\n"
        "    for row, table in zip(rows, tables, strict=True):",
        GAP_TESTS,
    ),
    Mutant("gap_not_clear_of_zero_is_a_percentage", GAP, "if np.mean(gaps <= 0) >= 0.025:", "if False:", GAP_TESTS),
    Mutant("gap_p_value_can_be_zero", INTERVALS, "return float((1 + np.sum(", "return float((0 + np.sum(", GAP_TESTS),
    Mutant("gap_one_sided_test", INTERVALS, "np.abs(means) >= observed", "means >= observed", GAP_TESTS),
    # Mask rules
    Mutant(
        "top_iou_takes_the_worst",
        MERGE,
        "return c.logits[c.iou.argmax()]",
        "return c.logits[c.iou.argmin()]",
        MERGE_TESTS,
    ),
    Mutant(
        "union_takes_the_smallest_logit",
        MERGE,
        "return c.logits[index].amax(0)",
        "return c.logits[index].amin(0)",
        MERGE_TESTS,
    ),
    Mutant(
        "background_counts_as_foreground",
        MERGE,
        "return ((c.area > 0) & (c.area <= BACKGROUND_SHARE))",
        "return (c.area > 0)",
        MERGE_TESTS,
    ),
    Mutant(
        "low_contrast_joins_the_union",
        MERGE,
        "c.contrast[foreground] >= MIN_CONTRAST",
        "c.contrast[foreground] >= 0",
        MERGE_TESTS,
    ),
    Mutant("topk_joins_all", MERGE, "stable=True)[:TOP_K]]", "stable=True)]]", MERGE_TESTS),
    # Metrics
    Mutant(
        "threshold_at_instead_of_above",
        "samis/metrics/best_threshold.py",
        "np.ceil(values",
        "np.floor(1 + values",
        "tests/unit/metrics/test_best_threshold.py",
    ),
    Mutant(
        "threshold_takes_the_first_of_a_plateau",
        "samis/metrics/best_threshold.py",
        "int(run[len(run) // 2])",
        "int(run[0])",
        "tests/unit/metrics/test_best_threshold.py",
    ),
    Mutant(
        "clean_threshold_is_exclusive",
        "samis/metrics/clean.py",
        "np.count_nonzero(values >= threshold)",
        "np.count_nonzero(values > threshold)",
        "tests/unit/metrics/test_metrics_edges.py",
    ),
    Mutant("aupro_without_its_limit", "samis/metrics/aupro.py", "LIMIT = 0.3", "LIMIT = 1.0", FORMULAS),
    Mutant("boundary_f_one_pixel", "samis/metrics/boundary_f.py", "TOLERANCE_PX = 2.0", "TOLERANCE_PX = 1.0", FORMULAS),
    Mutant(
        "outline_takes_the_border_for_an_edge",
        "samis/metrics/boundary_f.py",
        "borderValue=1)",
        "borderValue=0)",
        FORMULAS,
    ),
    # Union of answers in tuning
    Mutant(
        "absent_prompts_join_the_union",
        "samis/sam/tuning.py",
        'largest = answers.masked_fill(~present[:, :, None, None], float("-inf")).amax(1)',
        "largest = answers.amax(1)",
        "--doctest-modules samis/sam/tuning.py tests/unit/sam_tuning/test_tuning.py",
    ),
    # A step by fewer kernels
    Mutant(
        "sums_forget_the_scale",
        "samis/adapters/whole.py",
        "torch.baddbmm(weights, b, a, alpha=scale)",
        "torch.baddbmm(weights, b, a)",
        "tests/unit/adapters/test_adapters.py -kwhole_weights",
    ),
    Mutant(
        "a_number_is_assigned_on_the_device",
        "samis/sam/extended.py",
        "further[..., height + width :].zero_()",
        "further[..., height + width :] = 0",
        "tests/unit/sam_tuning/test_cuda_dispatch.py -kpositions",
    ),
    # Annotations and maps as other tools write them
    Mutant(
        "brushed_mask_cut_at_half",
        "samis/data/own/annotation_shapes.py",
        "part = np.asarray(picture) != 0",
        "part = np.asarray(picture) > 127",
        "tests/unit/data/own/test_annotation_files.py -kbrushed",
    ),
    Mutant(
        "aupro_beyond_its_limit",
        "samis/metrics/aupro.py",
        "end = overlap[first] if rate[first] == limit else np.interp(limit, rate[: first + 1], overlap[: first + 1])",
        "end = np.interp(limit, rate, overlap)",
        "tests/unit/metrics/test_metrics_inputs.py -kaupro",
    ),
    Mutant(
        "infinite_maps_are_clipped",
        EVALUATOR,
        "if not np.isfinite(array).all():",
        "if False:",
        "tests/unit/prediction/test_not_finite.py -kmap_that",
    ),
    Mutant(
        "common_images_pass",
        "samis/data/checks/findings.py",
        "both = [key for key in second.ids if key in known]",
        "both: list[str] = []",
        "tests/unit/data/checks/test_equal_splits.py -kby_id_and_by_content",
    ),
    # What an image costs, and rows beside others
    Mutant(
        "attention_is_not_counted",
        "samis/evaluation/cost.py",
        "sdpa_kernel(SDPBackend.MATH), ",
        "",
        "tests/unit/evaluation/test_cost.py -kwhatever_the_kernel",
    ),
    Mutant(
        "replaced_modules_count_twice",
        "samis/evaluation/cost.py",
        ' if "original_module" not in name.split(".")',
        "",
        "tests/unit/evaluation/test_cost.py -kcounted_twice",
    ),
    Mutant(
        "a_ceiling_is_ranked",
        "samis/reporting/analysis/table.py",
        ' and row.kind != "ceiling"',
        "",
        "tests/unit/reporting/analysis/test_costs.py -kceiling",
    ),
    Mutant(
        "noise_of_other_images_stands_beside",
        "samis/reporting/analysis/separate.py",
        "(row.dataset, noise[1], *table_key(row)[2:]) in keys",
        "True",
        "tests/unit/reporting/analysis/test_separate.py -knoise_without",
    ),
    # Configs
    Mutant("truth_values_are_numbers", CONFIG, " and not isinstance(value, bool)", "", CONFIG_TESTS),
    Mutant("unknown_keys_pass", CONFIG, 'extra="forbid"', 'extra="ignore"', CONFIG_TESTS),
    Mutant("infinite_numbers_pass", CONFIG, "allow_inf_nan=False", "allow_inf_nan=True", CONFIG_TESTS),
    Mutant("removed_names_are_refused_early", CONFIG, " or value in self.later()", "", CONFIG_TESTS),
    Mutant(
        "fault_of_an_override_names_the_file",
        "samis/config/faults.py",
        "lines[overridden]",
        "lines[False]",
        CONFIG_TESTS,
    ),
    # What is refused, or said, before it costs something
    Mutant(
        "of_even_repeats_the_lower_stands",
        "samis/evaluation/repeats.py",
        "sign = direction(metric, rows)",
        "sign = 1",
        "tests/unit/evaluation/test_rows.py -kwhichever",
    ),
    Mutant(
        "maps_beyond_1_are_cut",
        "samis/evaluation/evaluator.py",
        "<= 1 + ROUNDING:",
        "<= 1e9:",
        "tests/unit/evaluation/test_evaluator.py -kbeyond_1",
    ),
    Mutant(
        "a_map_too_few_passes",
        "samis/evaluation/evaluator.py",
        "if len(maps) != len(batch.ids):",
        "if not maps:",
        "tests/unit/test_api.py -kfor_each_image",
    ),
    Mutant(
        "full_maps_say_something_of_defects",
        "samis/evaluation/evaluator.py",
        'all(row["empty_map"] or row["full_map"] for',
        'all(row["empty_map"] for',
        "tests/unit/evaluation/test_evaluator.py -ksay_nothing",
    ),
    Mutant(
        "a_row_flat_on_defects_is_ranked",
        "samis/evaluation/score_row.py",
        "if self.flat_on_defects else",
        "if False else",
        "tests/unit/evaluation/test_score_row.py -kflat",
    ),
    Mutant(
        "identity_compares_unrounded_numbers",
        "samis/evaluation/row_files.py",
        "{key: rounded(value) for",
        "{key: value for",
        "tests/unit/evaluation/test_score_row.py -kthird",
    ),
    Mutant(
        "saved_again_in_another_format_is_another_photo",
        "samis/data/checks/quick_check.py",
        "    _hash_pixels(digests, shapes)\n",
        "",
        "tests/unit/data/checks/test_quick_check.py -kanother_format",
    ),
    Mutant(
        "photos_skipped_on_purpose_are_unlisted",
        "samis/data/own/coco.py",
        " and path.name not in self.skipped",
        "",
        "tests/unit/data/own/test_annotation_files.py -kdoes_not_list",
    ),
    Mutant(
        "a_number_that_the_truths_lack_is_found_after_an_epoch",
        "samis/jobs/check.py",
        "and not _has_number(config, watched)",
        "and False",
        "tests/unit/jobs/test_selection.py -ktruths_do_not_have",
    ),
    Mutant(
        "faint_floats_are_not_warned_about",
        "samis/metrics/folders.py",
        "pair.as_floor[-1] - pair.as_floor[0] < FEW_LEVELS",
        "False",
        "tests/unit/metrics/test_metrics_folders.py -kfaint",
    ),
    Mutant(
        "a_map_of_a_validation_blames_the_weights",
        "samis/training/validation.py",
        "except NotFiniteError as error:",
        "except PeerError as error:",
        "tests/unit/training/test_trainer.py -klearning_rates",
    ),
    Mutant(
        "a_run_folder_leaves_its_place",
        "samis/config/fields.py",
        "or set(value) & set(",
        "or set() & set(",
        "tests/unit/test_config_rules.py -kexperiment",
    ),
    Mutant(
        "mistakes_in_options_exit_with_1",
        "samis/errors.py",
        "self.exit(2,",
        "self.exit(1,",
        "tests/recipes/test_refused_values.py -koptions_are",
    ),
    Mutant(
        "half_a_pixel_of_a_line_is_lost",
        "samis/data/own/annotation_shapes.py",
        "int(width + 0.5)",
        "int(width)",
        "tests/unit/data/own/test_annotation_files.py -kwidth_asked",
    ),
    Mutant(
        "a_loss_without_a_part_trains",
        "samis/jobs/check.py",
        "if training and not any(getattr(config.loss, part) for part in PARTS):",
        "if False:",
        "tests/recipes/test_refused_values.py -kwithout_a_part",
    ),
    Mutant(
        "a_metric_that_is_no_number_is_read",
        "samis/evaluation/score_row.py",
        "if not number or not math.isfinite(value):",
        "if not number:",
        "tests/unit/evaluation/test_score_row.py",
    ),
    Mutant(
        "a_shape_without_a_name_is_read",
        "samis/data/own/labelme.py",
        "if not isinstance(label, str) or not label.strip():",
        "if False:",
        "tests/unit/data/test_annotation_contradictions.py",
    ),
    Mutant(
        "kept_embeddings_may_be_infinite",
        "samis/sam/embeddings.py",
        " or not np.isfinite(array).all():",
        ":",
        "tests/unit/sam/test_embeddings.py -knot_finite",
    ),
    Mutant(
        "a_promise_without_the_finite_sample_term",
        "samis/decision/promise.py",
        "return (count * mean + 1) / (count + 1)",
        "return mean",
        "tests/unit/decision/test_promise.py",
    ),
    Mutant(
        "a_promise_takes_the_lowest_threshold",
        "samis/decision/promise.py",
        "np.flatnonzero(allowed)[-1 if promise.miss_at_most is not None else 0]",
        "np.flatnonzero(allowed)[0]",
        "tests/unit/decision/test_promise.py",
    ),
    Mutant(
        "a_promise_may_mark_all_of_the_surface",
        "samis/decision/promise.py",
        "            usable &= calibration.curve(name) <= most",
        "            pass",
        "tests/unit/decision/test_promise.py -kcannot_be_kept",
    ),
    Mutant(
        "a_defect_is_found_by_one_pixel",
        "samis/decision/risks.py",
        "part[int(np.ceil(COVERED * len(part) - 1e-9)) - 1]",
        "part[0]",
        "tests/unit/decision/test_promise.py -kloops",
    ),
    Mutant(
        "training_images_calibrate",
        "samis/data/calibration.py",
        'if keys[key] in seen["training"]]',
        "if False]",
        "tests/unit/jobs/test_calibrate.py -khad_a_part",
    ),
    Mutant(
        "images_that_chose_the_epoch_calibrate",
        "samis/data/calibration.py",
        'if keys[key] in seen["selection"]]',
        "if False]",
        "tests/unit/jobs/test_calibrate.py -khalf_of",
    ),
    Mutant(
        "calibration_images_choose_the_threshold_too",
        "samis/jobs/train.py",
        "judged, calibration = set_aside(whole, config.data.calibration_share)",
        "judged, calibration = whole, set_aside(whole, config.data.calibration_share)[1]",
        "tests/unit/jobs/test_calibrate.py -khalf_of",
    ),
    Mutant(
        "a_calibration_of_other_weights",
        "samis/decision/of_run.py",
        "if result.weights_sha256 != self.weights_sha256:",
        "if False:",
        "tests/unit/jobs/test_calibrate.py -kother_weights",
    ),
    Mutant(
        "overkill_of_all_images",
        "samis/decision/verdicts.py",
        "float(np.mean(called[~defective]))",
        "float(np.mean(called & ~defective))",
        "tests/unit/decision/test_verdicts.py -ktorchmetrics",
    ),
    Mutant(
        "dropped_regions_make_a_photo_defective",
        "samis/prediction/photos.py",
        "threshold=threshold if options.min_area_px > 1 else None",
        "threshold=None",
        "tests/unit/prediction/test_verdicts.py",
    ),
    Mutant(
        "a_crack_without_its_ends",
        "samis/prediction/skeleton.py",
        "total += float(half_width[y, x])",
        "total += 0.0",
        "tests/unit/prediction/test_skeleton.py -kstraight",
    ),
    Mutant(
        "spurs_count_as_branches",
        "samis/prediction/skeleton.py",
        "_SPUR = 1.5",
        "_SPUR = 0.0",
        "tests/unit/prediction/test_skeleton.py",
    ),
    Mutant(
        "cldice_without_the_middle_of_wide_strips",
        "samis/core/cldice.py",
        "for _ in range(steps):",
        "for _ in range(1):",
        "tests/unit/core/test_cldice.py",
    ),
    Mutant(
        "sam2_image_is_padded",
        "samis/core/preprocessing.py",
        '"sam2": Preprocessing(stretched=True, resize="torch")',
        '"sam2": Preprocessing(resize="torch")',
        "tests/properties/test_geometry_properties.py",
    ),
    Mutant(
        "preprocessing_is_not_in_the_key",
        "samis/core/geometry.py",
        '{p.frame_px} {p.preprocessing}"',
        '{p.frame_px}"',
        "tests/properties/test_geometry_properties.py",
    ),
    Mutant(
        "sam2_embedding_without_conv_s0_in_its_name",
        "samis/sam/families/sam2.py",
        'for name in ("conv_s0", "conv_s1")',
        'for name in ("conv_s1",)',
        "tests/unit/families/test_tuning.py -kother_weights",
    ),
    Mutant(
        "sam2_single_is_always_mask_0",
        "samis/sam/families/sam2.py",
        "chosen = torch.where(stable, 0, 1 +",
        "chosen = torch.where(stable | True, 0, 1 +",
        "tests/unit/families/test_equal.py -kunstable",
    ),
    Mutant(
        "tuned_sam2_falls_back",
        "samis/sam/segmenter.py",
        'output.logits[:, :, 0] if self.kind == "tuned" else',
        'output.logits[:, :, 0] if self.kind == "none" else',
        "tests/unit/families/test_tuning.py -kboxes_answer_with_mask_0",
    ),
    Mutant(
        "sam_hq_without_its_token",
        "samis/sam/families/sam_hq.py",
        "return own + high[:, None]",
        "return own",
        "tests/unit/families/test_equal.py -kmasks_are_the_librarys",
    ),
]
