"""Many ranks that share optimizer states (ZeRO 1), gradients too (2) or weights too (3): DeepSpeed.

The only module that imports deepspeed, and the only writer of its config: every key that changes a number is explicit.
Towers run under our own autocast while DeepSpeed sees a float32 model, so that weights, logit_scale, gradients and
their averages are float32 at every stage.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Le
from torch import Tensor, nn

from mmcontrast import comm
from mmcontrast.combine.base import Combiner
from mmcontrast.config import NonNegativeCount, Positive, config
from mmcontrast.engines import ENGINES
from mmcontrast.engines.base import Update, make_row_major
from mmcontrast.engines.files import OPTIMIZER, read_tensors, write_tensors
from mmcontrast.engines.loss_scale import LossScale
from mmcontrast.engines.replicated import DTYPES, Precision
from mmcontrast.errors import MissingPackage
from mmcontrast.model import Model
from mmcontrast.objectives.base import Objective
from mmcontrast.optim.state import AVERAGE, STEP, all_names, parameter_names
from mmcontrast.towers.base import Tower


@ENGINES.register("deepspeed", "zero")
class DeepSpeed:
    """ZeRO stages 1 to 3; stage 0 is the engine ``ddp``.

    Source: Rajbhandari et al. 2019, arXiv:1910.02054; offload: Ren et al. 2021, arXiv:2101.06840.
    """

    cuts_weights: ClassVar[bool] = True
    row_major: ClassVar[bool] = True  # weights travel as bytes, which channels-last strides forbid

    @config
    class Config:
        """Fields of the engine."""

        stage: Annotated[int, Ge(1), Le(3)] = 2  # what ranks share: 1 optimizer states, 2 and gradients, 3 and weights
        offload_optimizer: Literal["none", "cpu"] = "none"  # cpu: optimizer states and the update live in main memory
        device: str = "auto"  # auto: this rank's cuda device when there is one, else cpu
        precision: Precision = "fp32"  # of the towers' matrix products; weights, logit_scale and losses stay fp32
        clip_norm: Positive | None = None  # largest gradient norm; null: no clipping
        bucket_mb: Positive = 200.0  # MiB of gradients averaged, and of weights gathered, at a time
        persist_elements: NonNegativeCount = 100_000  # stage 3: parameters up to this size stay whole on every rank
        timeout_seconds: Positive = 600.0  # longest that a rank waits for the others in a collective
        meet_seconds: Positive = 120.0  # longest that ranks wait at the start for all to come

    @staticmethod
    def start(config: Any) -> None:
        """Join the other ranks.

        Raises:
            MissingPackage: deepspeed is not installed.
            LaunchError: the ranks do not find each other.
        """
        if importlib.util.find_spec("deepspeed") is None:
            raise MissingPackage(
                "engine 'deepspeed' needs the package deepspeed: pip install 'mmcontrast[deepspeed]', or set "
                "engine.type to ddp."
            )
        where = comm.device(config.device)
        comm.start(where, timeout_seconds=config.timeout_seconds, meet_seconds=config.meet_seconds)

    def __init__(self, config: Any, *, model: Model, optimizer: Any) -> None:
        self.config = config
        self.device = comm.device(config.device)
        self.model = model.to(self.device)
        self.model.autocast = DTYPES[config.precision]
        self.model.compile_towers()
        make_row_major(self.model)
        self._parameters: dict[str, Any] = {  # Any: DeepSpeed adds methods to parameters
            name: parameter for name, parameter in self.model.named_parameters() if parameter.requires_grad
        }
        self._scale = LossScale(enabled=config.precision == "fp16")
        assert not optimizer.whole_weights, "check() refuses an optimizer that needs whole weights"
        built: torch.optim.Optimizer = optimizer.build(self.model)
        assert parameter_names(self.model).keys() == {id(p) for group in built.param_groups for p in group["params"]}
        self._base = [group["lr"] for group in built.param_groups]
        hooked = config.stage == 3
        if hooked:
            _rewrite_outputs(self.model, _opened)
        self._engine = _initialize(self.model, built, _settings(config), self.device)
        if hooked:
            _rewrite_outputs(self.model, _closed)
        self._zero: Any = self._engine.optimizer

    # ------------------------------------------------------------- the update

    @property
    def loss_scale(self) -> float:
        """See the protocol."""
        return self._scale.value

    def __call__(self, what: Literal["embed", "loss", "encode_resting"], value: Any) -> Any:
        """Run the model through DeepSpeed's hooks; towers under autocast when asked, losses always in fp32."""
        return self._engine(what, value)

    @contextmanager
    def one_update(self) -> Iterator[None]:
        """Gradients stay local until the end, and are averaged once.

        Without this, every backward after the first is reduced wrongly at stages 1 and 2, silently.
        """
        self._received = False
        self._zero.override_loss_scale(self.loss_scale)  # DeepSpeed puts it on losses, and takes it off gradients
        with self._engine.coalesce_grad_reduction():
            yield
            if self._received:
                self._fill_missing_gradients()
        if not self._received:  # a refused loss sent nothing, and step() does not follow
            self._forget_reduction()

    def _fill_missing_gradients(self) -> None:
        # Stage 3 keeps last update's gradient for a parameter that received none, and would apply it again.
        missing = [parameter for parameter in self._parameters.values() if parameter.grad is None]
        if missing:
            with self._whole(missing):
                for parameter in missing:
                    parameter.grad = torch.zeros_like(parameter)

    def _forget_reduction(self) -> None:
        # Without step(), DeepSpeed takes the next update for a continuation: stage 3 and offloaded gradients are then
        # added to those of the update before.
        self._zero.zero_grad()
        self._zero.micro_step_id = 0 if self.config.stage == 3 else -1  # as its own step() leaves it

    def backward(self, loss: Tensor, *, last: bool = True) -> None:
        """Accumulate gradients."""
        self._received = True
        self._engine.backward(loss)

    def discard(self) -> None:
        """Forget the gradients, before they are averaged."""
        self._received = False
        for parameter in self._parameters.values():
            parameter.grad = None

    def step(self, *, lr_factor: float) -> Update:
        """Clip, update, zero the gradients."""
        for group, base in zip(self._zero.optimizer.param_groups, self._base, strict=True):
            group["lr"] = base * lr_factor
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        finite = math.isfinite(norm) and not self._zero.overflow
        rescaled = not finite and self.loss_scale > 1
        self._scale.update(finite=finite)
        return Update(grad_norm=norm if finite else math.inf, applied=finite, rescaled=rescaled)

    @torch.no_grad()
    def average(self, *, keep: float) -> None:
        """Move this rank's parts of the average, which lie beside the optimizer's slots: nothing is gathered."""
        for flat in self._flats():
            slots = self._zero.optimizer.state[flat]
            if AVERAGE in slots:
                slots[AVERAGE].lerp_(flat, 1 - keep)
            else:
                slots[AVERAGE] = flat.detach().clone()

    def gradients(self) -> dict[str, Tensor]:
        """Averaged gradients by name."""
        if self.config.stage == 3:
            found = {name: self._zero.get_fp32_grad_for_param(p).clone() for name, p in self._parameters.items()}
        else:
            found = {name: p.get_full_hp_grad() for name, p in self._parameters.items()}
        return {name: value / self.loss_scale for name, value in found.items()}

    # ----------------------------------------------------------------- states

    @contextmanager
    def _whole(self, parameters: list[nn.Parameter], *, change: bool = False) -> Iterator[None]:
        """Gather parameters that stage 3 has partitioned; with ``change``, rank 0's values are kept."""
        if self.config.stage < 3 or not parameters:
            yield
            return
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(parameters, modifier_rank=0 if change else None):
            yield

    def weights(self, which: Literal["raw", "ema"] = "raw") -> Iterator[tuple[str, Tensor]]:
        """Every parameter and buffer, one parameter gathered at a time."""
        parameters: dict[str, Any] = dict(self.model.named_parameters(remove_duplicate=False))
        averaged = which == "ema" and any(AVERAGE in self._zero.optimizer.state[flat] for flat in self._flats())
        if averaged:
            self._link_slots()
        for name, value in self.model.state_dict().items():
            parameter = parameters.get(name)
            if averaged and parameter is not None and parameter.requires_grad:
                yield name, self._slot(parameter, AVERAGE)
                continue
            with self._whole([] if parameter is None else [parameter]):
                yield name, value if parameter is None else parameter.detach()

    def model_state(self) -> dict[str, Tensor]:
        """Every parameter and buffer, copied to the CPU of rank 0, one parameter gathered at a time."""
        result: dict[str, Tensor] = {}
        for name, value in self.weights():
            if comm.rank() == 0:
                result[name] = value.to("cpu", copy=True, memory_format=torch.contiguous_format)
        return result

    def load_model_state(self, state: dict[str, Tensor]) -> None:
        """Put a state back, into the float32 weights that the optimizer holds as well."""
        if self.config.stage < 3:
            self.model.load_state_dict(state)
        else:
            parameters = dict(self.model.named_parameters())
            buffers = {name: value for name, value in self.model.state_dict().items() if name not in parameters}
            for name, target in [*parameters.items(), *buffers.items()]:
                with torch.no_grad(), self._whole([target] if name in parameters else [], change=True):  # type: ignore[list-item]
                    target.copy_(state[name])
        self._zero.refresh_fp32_params()

    def training_state(self) -> dict[str, Tensor]:
        """Optimizer slots, average and loss scale, copied to rank 0's CPU, one parameter gathered at a time."""
        inner = self._zero.optimizer.state
        flats = [flat for flat in self._flats() if inner.get(flat)]
        if not flats:
            return {}
        slots = sorted(slot for slot, value in inner[flats[0]].items() if value.shape == flats[0].shape)
        self._link_slots()
        result: dict[str, Tensor] = {}
        for name, parameter in self._parameters.items():
            for slot in slots:
                whole = self._slot(parameter, slot)
                if comm.rank() == 0:
                    result[f"{slot}/{name}"] = whole.to("cpu", copy=True)
            if comm.rank() == 0:
                result[f"{STEP}/{name}"] = inner[flats[0]][STEP].to("cpu", copy=True)
        if comm.rank() > 0:
            return {}
        tied = {name: first for name, first in all_names(self.model).items() if name != first}
        if AVERAGE in slots:
            result |= {f"{AVERAGE}/{name}": result[f"{AVERAGE}/{first}"] for name, first in tied.items()}
        return result | self._scale.state()

    def load_training_state(self, state: dict[str, Tensor]) -> None:
        """Put a state back.  Parameters that it does not hold start with zero moments, and average themselves."""
        self._scale.load(state)
        slots = sorted({key.partition("/")[0] for key in state if "/" in key} - {STEP})
        steps = [value for key, value in state.items() if key.startswith(f"{STEP}/")]
        if not steps:
            return
        inner = self._zero.optimizer
        on_device = any(group.get("fused") or group.get("capturable") for group in inner.param_groups)
        for flat in self._flats():
            step = steps[0].to(flat.device if on_device else "cpu", copy=True)
            empty = {slot: flat.detach().clone() if slot == AVERAGE else torch.zeros_like(flat) for slot in slots}
            inner.state[flat] = {STEP: step, **empty}
        self._link_slots()
        for name, parameter in self._parameters.items():
            for slot in slots:
                if f"{slot}/{name}" in state:
                    self._put(parameter, state[f"{slot}/{name}"], slot)

    def _slot(self, parameter: Any, slot: str) -> Tensor:
        """A slot of the optimizer, whole on every rank."""
        if self.config.stage == 3:
            return self._zero.get_full_hp_param(parameter, slot)
        return parameter.get_full_hp_param(slot)

    def _put(self, parameter: Any, value: Tensor, slot: str) -> None:
        if self.config.stage < 3:
            parameter.set_full_hp_param(value.to(self.device), slot)
            return
        rows = parameter.ds_tensor.numel()  # this rank's part; the last one is padded
        padded = nn.functional.pad(value.flatten(), (0, rows * comm.world_size() - value.numel()))
        part = padded[comm.rank() * rows : (comm.rank() + 1) * rows]
        self._zero.set_local_hp_param(part.to(self.device), parameter, slot)

    def _flats(self) -> list[Tensor]:
        """This rank's flat float32 parts of the weights, which the optimizer updates."""
        if self.config.stage == 3:
            return list(self._zero.fp32_partitioned_groups_flat)
        return list(self._zero.single_partition_of_fp32_groups)

    def _link_slots(self) -> None:
        """Tell stages 1 and 2 where in the flat slots each parameter lies."""
        if self.config.stage < 3:
            self._zero._hp_optimizer_states_linked = False
            self._zero._lazy_init_hp_params_optimizer_state()

    def save(self, folder: Path) -> None:
        """Write the training state from rank 0."""
        state = self.training_state()
        if comm.rank() == 0:
            write_tensors(folder / OPTIMIZER, state)

    def load(self, folder: Path) -> None:
        """Read the training state on every rank."""
        self.load_training_state(read_tensors(folder / OPTIMIZER))


def _initialize(model: Model, optimizer: torch.optim.Optimizer, settings: dict[str, Any], device: torch.device) -> Any:
    os.environ.setdefault("DS_ACCELERATOR", device.type)  # deepspeed decides at import; it would also take a TPU
    os.environ.setdefault("LOCAL_RANK", str(comm.launch().local_rank))  # it insists on torchrun's variable
    import deepspeed
    import deepspeed.ops

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    logging.getLogger("DeepSpeed").addFilter(_is_news)
    # A CPU-only collective that is compiled at the first use: a minute, and a killed run leaves a lock behind.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # It calls torch's collectives by names that torch 2.14 warns of, on every rank at every update.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    engine, _, _, _ = deepspeed.initialize(model=model, optimizer=optimizer, config=settings, dist_init_required=False)
    return engine


def _is_news(record: logging.LogRecord) -> bool:
    """Not that an update was left out: the guard says so, and in fp16 it only halves the loss scale."""
    return "OVERFLOW! Skipping step" not in record.getMessage()


def _settings(config: Any) -> dict[str, Any]:
    """DeepSpeed's config.  Batch sizes only satisfy its arithmetic: batches are ours."""
    elements = max(1, round(config.bucket_mb * 2**20 / 4))
    zero: dict[str, Any] = {
        "stage": config.stage,
        "overlap_comm": False,  # nothing to overlap with: gradients are averaged after the last backward
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": elements,
        "allgather_bucket_size": elements,
    }
    if config.stage == 3:
        zero |= {
            "stage3_param_persistence_threshold": config.persist_elements,
            "stage3_prefetch_bucket_size": elements,
        }
    if config.offload_optimizer == "cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": comm.world_size(),
        "gradient_clipping": config.clip_norm or 0.0,  # deepspeed clips to 1 when the key is missing
        "prescale_gradients": False,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,  # none that looks at whole weights comes here
        "zero_force_ds_cpu_optimizer": False,  # torch's fused AdamW also updates offloaded states
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


class _Opened(dict[str, Any]):
    """The fields of a dataclass while DeepSpeed's hooks look at them."""

    of: type


def _opened(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = _Opened({field.name: _opened(getattr(value, field.name)) for field in dataclasses.fields(value)})
        fields.of = type(value)
        return fields
    return {key: _opened(each) for key, each in value.items()} if isinstance(value, dict) else value


def _closed(value: Any) -> Any:
    if isinstance(value, dict):
        fields = {key: _closed(each) for key, each in value.items()}
        return value.of(**fields) if isinstance(value, _Opened) else fields
    return value


def _rewrite_outputs(model: Model, function: Any) -> None:
    """Pass through ``function`` what the model, its towers, its objectives and their combiner return.

    Stage 3 fetches the weights of a module again for its backward by hooks on the tensors that it returned, which it
    finds in dicts but not in dataclasses.  Forward hooks run in the order of their registration: dataclasses are
    opened before DeepSpeed's own and closed after them.
    """
    for module in model.modules():
        if isinstance(module, (Model, Tower, Objective, Combiner)):
            module.register_forward_hook(lambda module, inputs, output: function(output))
