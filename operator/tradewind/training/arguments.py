"""What the stock Trainer is told.

Belongs here: settings of a run under the names that transformers has for them. Does not belong here: what is trained (trainer.py).
"""

import torch
from transformers import TrainingArguments

from tradewind.training.config import TrainConfig


def training_arguments(
    config: TrainConfig, learning_rate: float, dtype: torch.dtype, *, rank: int = 0
) -> TrainingArguments:
    """What the stock Trainer is told: an item is a planned optimiser step, and the plan holds all epochs.

    Args:
        config: what the Job was told.
        learning_rate: the peak in use, which is lower than asked after a divergence.
        dtype: of the frozen weights.
        rank: of this process: each draws a dropout of its own.
    """
    settings, extra = config.hyperparameters, config.hyperparameters.extra
    arguments = TrainingArguments(
        output_dir=str(config.output / "checkpoints"),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=1,
        num_train_epochs=1,
        learning_rate=learning_rate,
        lr_scheduler_type=extra.lr_scheduler_type,
        warmup_steps=settings.warmup_steps,
        weight_decay=float(extra.weight_decay),
        max_grad_norm=float(extra.max_grad_norm),
        adam_beta1=float(extra.adam_beta1),
        adam_beta2=float(extra.adam_beta2),
        seed=settings.seed + rank,
        data_seed=settings.seed,
        train_sampling_strategy="sequential",
        save_strategy="steps",
        save_steps=settings.save_every_steps,
        logging_steps=int(extra.logging_steps),
        logging_nan_inf_filter=False,
        bf16=dtype is torch.bfloat16,
        fp16=dtype is torch.float16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to=[],
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # one process trains on one GPU; DataParallel would split the plan
    return arguments
