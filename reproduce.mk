# The README's answer: zero-shot SAM, tuned SAM and specialised networks on every data set, scored alike and compared.
#   make reproduce                          one job after the other, as many epochs as the configs say
#   make -j6 reproduce MINUTES=12           six at once; each training gets its share of 12 minutes
#   make -j2 reproduce QUICK=1              the same jobs on drawn data, a minute
#   make reproduce BIN=/path/to/venv/bin    uses that Python and installs nothing
# Runs and rows are file targets: what is done is left alone, what was cut goes on by the same command.

# ---- what may be set ----
# Rows, runs, logs and the report lie below REPRODUCE. ROWS=evaluate/results scores into the committed rows.
REPRODUCE ?= reports/reproduce$(if $(QUICK),_quick)
ROWS      ?= $(REPRODUCE)/rows
SETS      ?= $(if $(QUICK),steel,steel tile tile_by_tile rail)
RECIPES   ?= lora $(BASELINES)
BASELINES ?= unet f3net
# Further trainings as set.recipe: few-shot draws and other adapters of the recipes below, such as EXTRA="steel.lora_30 rail.full"
EXTRA     ?=
TRAININGS ?= $(foreach r,$(RECIPES),$(SETS:%=%.$r)) $(EXTRA)
ZERO_SHOT ?= grid empty whole box point untrained_box
REFERENCES ?= filled_box otsu_box
# Folder of published maps of steel, one folder a method; without it those rows are left out.
PUBLISHED ?= $(if $(QUICK),,$(firstword $(wildcard $(SAMIS_DATA:%=%/saliency-maps/SD-saliency-900) ../shared/data/saliency-maps/SD-saliency-900)))
# Salt-and-pepper noise in percent of the pixels, such as NOISE="10 20": rows of every training on noisy test images too.
NOISE     ?=
# MAPS=1 also saves the maps and draws them into the report.
MAPS      ?=
# Overrides for every training, such as KEYS="training.workers=2"; for one of them, keys.steel.lora="training.epochs=12".
KEYS      ?=
# Loader processes of a training that is time-boxed; made from the cores and jobs if not given.
WORKERS   ?=
# With MINUTES, how much longer than the others a training may take: steps at 512 px cost four times those at 256.
weight.steel.lora        := 2
weight.tile.lora         := 3
weight.tile_by_tile.lora := 4
# The variants get what the recipe that they are compared with gets.
$(foreach r,full bottleneck scratch,$(eval weight.steel.$r := 2))
weight.tile.lora_ema               := 3
weight.tile_by_tile.lora_defective := 4

# ---- the data sets: keys of config, tiles, the adapter configs' first word, how row files begin ----
data.steel        := data.name=sd_saliency_900
data.tile         := data.name=magnetic_tile
data.tile_by_tile := data.name=magnetic_tile 'data.options={split: by_tile}' data.clean_share=0.3
data.rail         := data.name=rsdds
tiles.rail        := frame.tile_px=160
adapt.steel := steel
adapt.tile := tile
adapt.tile_by_tile := tile_by_tile
adapt.rail := rail
stem.steel        := sd_saliency_900-test
stem.tile         := magnetic_tile-test
stem.tile_by_tile := magnetic_tile_by_tile-test
stem.rail         := rsdds-test

# ---- the recipes: $1 is the data set. A new one is two lines, and its name in RECIPES, or as set.recipe in EXTRA. ----
# Halved: the rates that suit steel and rail let the maps of magnetic tile fall into "nothing".
rate = $(if $(filter tile%,$1),$3,$2)
encoder_too = train/adapt.py configs/adapt/$(adapt.$1)_lora.yaml
decoder_only = train/adapt.py configs/adapt/$(subst _by_tile,,$(adapt.$1))_decoder_lora.yaml
train.lora         = $(encoder_too)
label.lora         = LoRA, encoder + decoder
# Few-shot: three draws each of 10, 30 and 100 images; all make about 300 steps.
FEW_SHOT := $(foreach n,10 30 100,$(foreach d,1 2 3,lora_$n_$d))
epochs.10  := training.epochs=300 training.validate_every=30
epochs.30  := training.epochs=150 training.validate_every=15
epochs.100 := training.epochs=45 training.validate_every=5
$(foreach n,10 30 100,$(foreach d,1 2 3,\
  $(eval train.lora_$n_$d = $$(encoder_too) data.limit=$n seed=$d $(epochs.$n))\
  $(eval label.lora_$n_$d = LoRA$$(comma) encoder + decoder$$(comma) $n images$$(comma) draw $d)))
# Without clean photos, and with the average of the weights: what each is worth.
train.lora_defective = $(encoder_too)
keys.tile_by_tile.lora_defective := data.clean_share=0
label.lora_defective = LoRA, encoder + decoder, no clean photos
train.lora_ema     = $(encoder_too) training.ema=0.99
label.lora_ema     = LoRA, encoder + decoder, EMA
train.decoder_lora = $(decoder_only)
label.decoder_lora = LoRA, decoder
train.decoder      = $(decoder_only) adapter.name=unfreeze adapter.preset=decoder optim.pretrained_lr_scale=1.0 optim.lr=$(call rate,$1,1.0e-3,5.0e-4)
label.decoder      = Decoder alone
train.bottleneck   = $(encoder_too) adapter.name=bottleneck adapter.encoder=[mlp] optim.lr=$(call rate,$1,2.0e-3,1.0e-3)
label.bottleneck   = Bottleneck, encoder + decoder
train.full         = $(encoder_too) adapter.name=unfreeze adapter.preset=full optim.pretrained_lr_scale=1.0 optim.lr=$(call rate,$1,1.0e-3,5.0e-4)
label.full         = Full tuning
train.scratch      = $(train.full) segmenter.weights=random
label.scratch      = The same network from scratch
specialised.tile = training.epochs=150
specialised.tile_by_tile = $(specialised.tile)
specialised.rail = frame.frame_px=160 $(tiles.rail) training.epochs=600 training.validate_every=30
# The same trunk, with the same ImageNet weights, as the embedded SAM has; more seeds are unet_1, unet_2 ..., and without ImageNet's
# weights unet_random.
train.unet         = train/baseline.py configs/baselines/unet_lite0.yaml $(specialised.$1)
train.f3net        = train/baseline.py configs/baselines/f3net_lite0.yaml $(specialised.$1)
called.by.unet     := U-Net
called.by.f3net    := F3Net
$(foreach n,unet f3net,\
  $(eval label.$n = $(called.by.$n)$$(comma) EfficientNet-Lite0$$(comma) seed 0)\
  $(eval train.$n_random = $$(train.$n) segmenter.pretrained=false)\
  $(eval label.$n_random = $(called.by.$n)$$(comma) EfficientNet-Lite0$$(comma) random weights)\
  $(foreach d,1 2,$(eval train.$n_$d = $$(train.$n) seed=$d)\
    $(eval label.$n_$d = $(called.by.$n)$$(comma) EfficientNet-Lite0$$(comma) seed $d)))

# ---- zero-shot prompts and references ----
SAM := $(or $(shell sed -n 's/.*architecture: *\([a-z0-9_]*\).*/\1/p' configs/zero_shot.yaml),SAM)
zero.grid           = segmenter.mask_rule=all
zero.empty          = prompt.kind=empty segmenter.mask_rule=single $(tiles.$1)
zero.whole          = prompt.kind=whole segmenter.mask_rule=single $(tiles.$1)
zero.box            = prompt.kind=box segmenter.mask_rule=single $(tiles.$1)
zero.point          = prompt.kind=point segmenter.mask_rule=single $(tiles.$1)
zero.untrained_box  = $(zero.box) segmenter.weights=random
called.grid         = $(SAM), grid
called.empty        = $(SAM), empty
called.whole        = $(SAM), whole
called.box          = $(SAM), box
called.point        = $(SAM), point
called.untrained_box = $(SAM) untrained, box
# The grid's rows come from one pass; the one that is written last stands for all.
comma := ,
space := $(subst ,, )
after.grid := $(comma) oracle_best

# ---- drawn data, a few steps ----
ifdef QUICK
$(foreach s,$(SETS),$(eval data.$s := data.name=procedural 'data.options={count: 8}' data.limit=8 data.augment=light))
$(foreach s,$(SETS),$(eval stem.$s := procedural_count_8-test))
SMALL := frame.frame_px=64 cache.embeddings=never
SMALL_TRAINING := $(SMALL) training.epochs=1 training.batch_size=4 training.gallery=0
SMALL_SCORING := $(SMALL) prompt.points_per_side=4 metrics.bootstrap=20
SMALL_RUN := metrics.bootstrap=20
endif

# ---- from here on nothing is to be set ----
INSTALL ?= $(if $(filter file,$(origin BIN)),install)
LOGS := $(REPRODUCE)/logs
set_of = $(firstword $(subst ., ,$1))
recipe_of = $(lastword $(subst ., ,$1))
pairs = $(foreach s,$(SETS),$(1:%=$s.%))
run_of = $(REPRODUCE)/runs/$(subst .,_,$1)
# A row's file: samis.jobs.score makes its name of the row's.
row_of = $(ROWS)/$1/$(stem.$1)-$(subst $(space),_,$(subst $(comma),,$2)).json
run_row = $(call row_of,$(set_of),$(label.$(recipe_of)))
noisy_row = $(subst $(stem.$(set_of))-,$(stem.$(set_of))_+$2_salt-and-pepper-,$(run_row))
zero_row = $(call row_of,$(set_of),$(called.$(recipe_of))$(after.$(recipe_of)))
reference_row = $(call row_of,$(set_of),$(recipe_of))
save_maps := $(if $(MAPS),--save-maps $(REPRODUCE)/maps)
METHODS := $(if $(and $(PUBLISHED),$(filter steel,$(SETS))),$(notdir $(patsubst %/,%,$(wildcard $(PUBLISHED)/*/))))
RUNS_DONE := $(foreach t,$(TRAININGS),$(call run_of,$t)/provenance.json)
ALL_ROWS := $(foreach t,$(TRAININGS),$(call run_row,$t)) $(foreach p,$(call pairs,$(ZERO_SHOT)),$(call zero_row,$p)) \
  $(foreach n,$(NOISE),$(foreach t,$(TRAININGS),$(call noisy_row,$t,$n))) \
  $(foreach p,$(call pairs,$(REFERENCES)),$(call reference_row,$p)) $(foreach m,$(METHODS),$(call row_of,steel,$m))

# How many jobs run at once (make's -j), how many threads each may use, how many minutes each training gets: a training starts in
# 25 s; scoring takes 20 s of one core a row, a grid's nine rows 80 s; the last rows and the report take 90 s.
jobs = $(or $(JOBS),$(patsubst -j%,%,$(filter -j%,$(MAKEFLAGS))),1)
cores := $(or $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null),1)
threads = $(shell echo $$(( $(cores) > $(jobs) ? $(cores) / $(jobs) : 1 )))
weights = $(foreach t,$(TRAININGS),$(or $(weight.$t),1))
minutes = $(shell awk 'BEGIN { m = 60 * $(MINUTES); j = $(jobs); t = $(words $(TRAININGS)); if (j > t) j = t; w = 0$(weights:%=+%); \
  rows = 20 * $(words $(ALL_ROWS)) + 60 * $(words $(SETS)); waves = int((t + j - 1) / j); \
  a = (0.9 * m * j - rows - 25 * t) / t; b = (0.9 * m - 90) / waves - 25; if (b < a) a = b; \
  a *= t / w * $(or $(weight.$1),1); b = 0.9 * m - 90 - 25; printf "%.2f", (a < b ? a : b) / 60 }')
workers = training.workers=$(or $(WORKERS),$(shell echo $$(( $(threads) > 4 ? 3 : $(threads) - 1 ))))
time_box = $(if $(MINUTES),training.minutes=$(call minutes,$1) $(workers))

# job NAME,COMMAND: runs it with its output in a log file, prints a line when it starts and one when it ends.
define job
@mkdir -p $(LOGS); start=$$(date +%s); echo "$$(date +%T) start $1"; \
export OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$(threads)} PYTHONUNBUFFERED=1; \
if $(BIN)/python $2 >> $(LOGS)/$1.log 2>&1 < /dev/null; then echo "$$(date +%T) done  $1, $$(( $$(date +%s) - start )) s"; \
else code=$$?; echo "$$(date +%T) FAILED $1, see $(LOGS)/$1.log: $$(grep . $(LOGS)/$1.log | tail -n 1)" >&2; exit $$code; fi
endef

# set.recipe -> its training's command, its run, the run's row
training = $(call train.$(recipe_of),$(set_of)) $(data.$(set_of)) $(SMALL_TRAINING) $(KEYS) $(keys.$1) experiment=$(subst .,_,$1) training.out=$(run_of)
define run_rules
$(call run_of,$1)/provenance.json: | reproduce-plan
	$$(call job,train-$(subst .,_,$1),$$(call training,$1) $$(call time_box,$1))
$(call run_row,$1): $(call run_of,$1)/provenance.json
	$$(call job,score-$(subst .,_,$1),evaluate/score.py $$(call run_of,$1) $$(SMALL_RUN) --overwrite --out $$(@D) --name "$$(label.$(recipe_of))" $$(save_maps))
endef
$(foreach t,$(TRAININGS),$(eval $(call run_rules,$t)))
define noise_rule
$(call noisy_row,$1,$2): $(call run_of,$1)/provenance.json
	$$(call job,score-$(subst .,_,$1)_noise_$2,evaluate/score.py $$(call run_of,$1) data.salt_pepper=$(shell awk 'BEGIN { print $2 / 100 }') $$(SMALL_RUN) --overwrite --out $$(@D) --name "$$(label.$(recipe_of))")
endef
$(foreach n,$(NOISE),$(foreach t,$(TRAININGS),$(eval $(call noise_rule,$t,$n))))

# set.prompt, set.reference, method -> rows of what is not trained
define zero_rule
$(call zero_row,$1): | reproduce-plan
	$$(call job,score-$(subst .,_,$1),evaluate/score.py configs/zero_shot.yaml $$(data.$(set_of)) $$(call zero.$(recipe_of),$(set_of)) $$(SMALL_SCORING) --overwrite --out $$(@D) --name "$$(called.$(recipe_of))" $(if $(filter grid empty whole,$(recipe_of)),$$(save_maps)))
endef
define reference_rule
$(call reference_row,$1): | reproduce-plan
	$$(call job,score-$(subst .,_,$1),evaluate/score.py configs/zero_shot.yaml $$(data.$(set_of)) prompt.kind=box segmenter.mask_rule=single segmenter.name=$(recipe_of) $$(SMALL_SCORING) --overwrite --out $$(@D) --name $(recipe_of))
endef
define method_rule
$(call row_of,steel,$1): | reproduce-plan
	$$(call job,score-steel_maps_$1,evaluate/score.py configs/saved_maps.yaml $$(data.steel) "segmenter.maps=$$(PUBLISHED)/$1" --overwrite --out $$(@D) --name $1 $$(save_maps))
endef
$(foreach p,$(call pairs,$(ZERO_SHOT)),$(eval $(call zero_rule,$p)))
$(foreach p,$(call pairs,$(REFERENCES)),$(eval $(call reference_rule,$p)))
$(foreach m,$(METHODS),$(eval $(call method_rule,$m)))

.PHONY: reproduce reproduce-plan reproduce-report
# Every file here is written under another name and renamed: what exists is whole, and make must not delete it when it is stopped.
.PRECIOUS: $(RUNS_DONE) $(ALL_ROWS)

report = @$(BIN)/python evaluate/compare.py $(ROWS) --out $(REPRODUCE) $(if $(QUICK),,--published) $(if $(MAPS),--maps $(REPRODUCE)/maps)

# Trainings come first: the rows of what needs none fill the gaps.
reproduce: $(RUNS_DONE) $(ALL_ROWS)
	$(report)

reproduce-report:
	$(report)

reproduce-plan: | $(INSTALL)
	@$(if $(and $(MINUTES),$(filter -% 0.0% 0.1%,$(minutes))),$(error MINUTES=$(MINUTES) is too short for $(words $(TRAININGS)) trainings, $(jobs) at once; give more minutes, or more jobs with make -j))mkdir -p $(LOGS)
	@echo "$(words $(TRAININGS)) trainings, $(words $(ALL_ROWS)) rows, $(jobs) at once with $(threads) threads each, in $(REPRODUCE)$(if $(MINUTES),; $(minutes) minutes a training)"
	@$(if $(PUBLISHED)$(QUICK),true,echo "no published maps of steel at hand: their rows are left out (PUBLISHED=DIR names them)")
	$(if $(or $(MINUTES),$(QUICK),$(if $(strip $(TRAININGS)),,none)),,@$(BIN)/python train/how_long.py $(foreach t,$(TRAININGS),$(call training,$t) --) || true)
