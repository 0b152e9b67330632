"""Families of models, each built as small as it comes, with batches that give a loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

CLASSES = 5
Batch = dict[str, Tensor]


class Family(NamedTuple):
    """package: what it is from. build: the model. batch: one batch, drawn with a generator.
    options: for ``rewire.attach``. double: whether it computes in float64, for models whose
    output jumps (spikes) or that widen what rounding leaves (many batch norms)."""

    package: str
    build: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], Batch]
    options: Mapping[str, Any] = {}
    double: bool = False

    def model(self) -> nn.Module:
        torch.manual_seed(0)
        model = self.build().train()
        return model.double() if self.double else model

    def batches(self, n: int, seed: int = 1) -> list[Batch]:
        generator = torch.Generator().manual_seed(seed)
        out = [self.batch(generator) for _ in range(n)]
        if self.double:
            out = [{k: v.double() if v.is_floating_point() else v for k, v in b.items()}
                   for b in out]  # fmt: skip
        return out


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    """The loss of a batch, with the same dropout each time."""
    torch.manual_seed(0)
    out = model(**batch)
    return out if isinstance(out, Tensor) else out["loss"]


class Classifier(nn.Module):
    """Any module whose output is one row of scores for each example."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(self.body(x), labels)


class Last(nn.Module):
    """The last state of a recurrent layer."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0][:, -1]


class Cell(nn.Module):
    """A recurrent cell, step by step: the last state."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return state[0] if isinstance(state, tuple) else state


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


class SelfAttention(nn.Module):
    def __init__(self, **options: Any):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False)[0]


class EncoderDecoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Transformer(
            8, 2, num_encoder_layers=1, num_decoder_layers=1, dim_feedforward=16, batch_first=True
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.transformer(x, x.flip(1))


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _labelled(*shape: int) -> Callable[[torch.Generator], Batch]:
    def batch(generator: torch.Generator) -> Batch:
        x = torch.randn(4, *shape, generator=generator)
        return {"x": x, "labels": torch.randint(CLASSES, (4,), generator=generator)}

    return batch


def _bag(generator: torch.Generator) -> Batch:
    x = torch.randint(20, (4, 6), generator=generator)
    return {"x": x, "labels": torch.randint(CLASSES, (4,), generator=generator)}


def _torch(body: Callable[[], nn.Module], *shape: int, **options: Any) -> Family:
    return Family("torch", lambda: Classifier(body()), _labelled(*shape), options)


def _sequence(layer: Callable[[], nn.Module], width: int = 8) -> Family:
    return _torch(lambda: nn.Sequential(Last(layer()), nn.Linear(width, CLASSES)), 5, 6)


def _encoder(**options: Any) -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True, **options)
    return nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)


TORCH = {
    "MLP": _torch(
        lambda: nn.Sequential(nn.Linear(12, 20), nn.ReLU(), nn.Linear(20, CLASSES)), 12
    ),
    "Conv2d, BatchNorm": _torch(
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 6, 3, groups=2), nn.Flatten(), nn.Linear(24, CLASSES),
        ), 2, 8, 8),
    "residual MLP, LayerNorm": _torch(
        lambda: nn.Sequential(
            Residual(nn.LayerNorm(12), nn.Linear(12, 12), nn.GELU(), nn.Linear(12, 12)),
            nn.Linear(12, CLASSES),
        ), 12),
    "Conv1d, Conv3d": _torch(
        lambda: nn.Sequential(
            nn.Conv1d(3, 4, 3), nn.ReLU(), nn.Unflatten(2, (3, 2, 1)), nn.Conv3d(4, 4, (2, 1, 1)),
            nn.Flatten(), nn.Linear(16, CLASSES),
        ), 3, 8),
    "ConvTranspose2d": _torch(
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(), nn.ConvTranspose2d(4, 3, 3, stride=2),
            nn.Flatten(), nn.Linear(147, CLASSES),
        ), 2, 8, 8),
    "LSTM": _sequence(lambda: nn.LSTM(6, 8, num_layers=2, batch_first=True)),
    "LSTM, both ways, projected": _sequence(
        lambda: nn.LSTM(6, 8, bidirectional=True, proj_size=4, batch_first=True)
    ),
    "GRU": _sequence(lambda: nn.GRU(6, 8, batch_first=True)),
    "RNN": _sequence(lambda: nn.RNN(6, 8, batch_first=True)),
    "LSTMCell": _torch(
        lambda: nn.Sequential(Cell(nn.LSTMCell(6, 8)), nn.Linear(8, CLASSES)), 5, 6),
    "GRUCell": _torch(lambda: nn.Sequential(Cell(nn.GRUCell(6, 8)), nn.Linear(8, CLASSES)), 5, 6),
    "MultiheadAttention": _torch(
        lambda: nn.Sequential(SelfAttention(), Mean(), nn.Linear(8, CLASSES)), 5, 8),
    "MultiheadAttention, other keys": _torch(
        lambda: nn.Sequential(SelfAttention(kdim=8, vdim=8, add_bias_kv=True), Mean(),
                              nn.Linear(8, CLASSES)), 5, 8),
    "TransformerEncoder": _torch(
        lambda: nn.Sequential(_encoder(), Mean(), nn.Linear(8, CLASSES)), 5, 8),
    "Transformer": _torch(
        lambda: nn.Sequential(EncoderDecoder(), Mean(), nn.Linear(8, CLASSES)), 5, 8),
    "EmbeddingBag": Family(
        "torch", lambda: Classifier(nn.Sequential(nn.EmbeddingBag(20, 8), nn.Linear(8, CLASSES))),
        _bag, {"embeddings": True}),
    "Embedding": Family(
        "torch",
        lambda: Classifier(nn.Sequential(nn.Embedding(20, 8), Mean(), nn.Linear(8, CLASSES))),
        _bag, {"embeddings": True}),
}  # fmt: skip


# -- Hugging Face ---------------------------------------------------------------------------------


def _tokens(generator: torch.Generator, length: int = 6) -> Tensor:
    return torch.randint(3, 30, (4, length), generator=generator)


def _text(generator: torch.Generator) -> Batch:
    ids = _tokens(generator)
    return {"input_ids": ids, "labels": ids.clone()}


def _text_class(generator: torch.Generator) -> Batch:
    labels = torch.randint(CLASSES, (4,), generator=generator)
    return {"input_ids": _tokens(generator), "labels": labels}


def _translation(generator: torch.Generator) -> Batch:
    return {"input_ids": _tokens(generator), "labels": _tokens(generator, 5)}


def _images(size: int) -> Callable[[torch.Generator], Batch]:
    def batch(generator: torch.Generator) -> Batch:
        x = torch.randn(4, 3, size, size, generator=generator)
        return {"pixel_values": x, "labels": torch.randint(CLASSES, (4,), generator=generator)}

    return batch


def _spectrum(generator: torch.Generator) -> Batch:
    x = torch.randn(2, 8, 16, generator=generator)
    return {"input_features": x, "labels": torch.randint(3, 30, (2, 5), generator=generator)}


def _sound(generator: torch.Generator) -> Batch:
    x = torch.randn(4, 64, generator=generator)
    return {"input_values": x, "labels": torch.randint(CLASSES, (4,), generator=generator)}


def _pairs(generator: torch.Generator) -> Batch:
    return {
        "input_ids": _tokens(generator),
        "pixel_values": torch.randn(4, 3, 8, 8, generator=generator),
        "return_loss": torch.tensor(True),
    }


SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24}  # fmt: skip
DECODER = {**SMALL, "vocab_size": 32, "max_position_embeddings": 16, "pad_token_id": 0,
           "bos_token_id": 1, "eos_token_id": 2}  # fmt: skip
ENCODER = {**SMALL, "vocab_size": 32, "max_position_embeddings": 16, "num_labels": CLASSES}


def _hf(
    config: str,
    model: str,
    batch: Callable[[torch.Generator], Batch],
    settings: Mapping[str, Any],
    double: bool = False,
    **options: Any,
) -> Family:
    def build() -> nn.Module:
        transformers = import_module("transformers")
        made = getattr(transformers, config)(**settings)
        return getattr(transformers, model)(made)

    return Family("transformers", build, batch, options, double)


def _clip() -> nn.Module:
    transformers = import_module("transformers")
    config = transformers.CLIPConfig(
        text_config={**DECODER}, vision_config={**SMALL, "image_size": 8, "patch_size": 4},
        projection_dim=8,
    )  # fmt: skip
    return transformers.CLIPModel(config)


GQA = {**DECODER, "num_key_value_heads": 1}
HUGGING_FACE = {
    "GPT-2": _hf("GPT2Config", "GPT2LMHeadModel", _text, {
        "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 32, "n_positions": 16,
        "bos_token_id": 1, "eos_token_id": 2}),
    "GPT-2 for classes": _hf("GPT2Config", "GPT2ForSequenceClassification", _text_class, {
        "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 32, "n_positions": 16,
        "num_labels": CLASSES, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}),
    "BERT": _hf("BertConfig", "BertForSequenceClassification", _text_class, ENCODER),
    "BERT, masked words": _hf("BertConfig", "BertForMaskedLM", _text, ENCODER),
    "RoBERTa": _hf("RobertaConfig", "RobertaForSequenceClassification", _text_class, ENCODER),
    "DistilBERT": _hf("DistilBertConfig", "DistilBertForSequenceClassification", _text_class, {
        "dim": 16, "hidden_dim": 24, "n_layers": 2, "n_heads": 2, "vocab_size": 32,
        "max_position_embeddings": 16, "num_labels": CLASSES}),
    "ELECTRA": _hf("ElectraConfig", "ElectraForSequenceClassification", _text_class, {
        **ENCODER, "embedding_size": 8}),
    "ALBERT": _hf("AlbertConfig", "AlbertForSequenceClassification", _text_class, {
        **ENCODER, "embedding_size": 8}),
    "DeBERTa v2": _hf("DebertaV2Config", "DebertaV2ForSequenceClassification", _text_class, {
        **ENCODER, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "T5": _hf("T5Config", "T5ForConditionalGeneration", _translation, {
        "d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 32,
        "decoder_start_token_id": 0, "pad_token_id": 0, "eos_token_id": 1}),
    "BART": _hf("BartConfig", "BartForConditionalGeneration", _translation, {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "vocab_size": 32, "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None}),
    "Llama": _hf("LlamaConfig", "LlamaForCausalLM", _text, GQA),
    "Mistral": _hf("MistralConfig", "MistralForCausalLM", _text, GQA),
    "Mixtral (experts)": _hf("MixtralConfig", "MixtralForCausalLM", _text, {
        **GQA, "num_local_experts": 3, "num_experts_per_tok": 2}),
    "Qwen2": _hf("Qwen2Config", "Qwen2ForCausalLM", _text, GQA),
    "Gemma": _hf("GemmaConfig", "GemmaForCausalLM", _text, {**GQA, "head_dim": 8}),
    "OPT": _hf("OPTConfig", "OPTForCausalLM", _text, {
        **DECODER, "ffn_dim": 24, "word_embed_proj_dim": 16}),
    "Bloom": _hf("BloomConfig", "BloomForCausalLM", _text, {
        "hidden_size": 16, "n_layer": 2, "n_head": 2, "vocab_size": 32}),
    "GPT-NeoX": _hf("GPTNeoXConfig", "GPTNeoXForCausalLM", _text, {
        **DECODER, "hidden_dropout": 0.1, "attention_dropout": 0.1}),
    "Mamba": _hf("MambaConfig", "MambaForCausalLM", _text, {
        "hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 32, "state_size": 4}),
    "ViT": _hf("ViTConfig", "ViTForImageClassification", _images(8), {
        **SMALL, "image_size": 8, "patch_size": 4, "num_labels": CLASSES}),
    "Swin": _hf("SwinConfig", "SwinForImageClassification", _images(16), {
        "image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2],
        "window_size": 2, "num_labels": CLASSES}),
    "ConvNeXt": _hf("ConvNextConfig", "ConvNextForImageClassification", _images(16), {
        "num_stages": 2, "hidden_sizes": [8, 12], "depths": [1, 1], "patch_size": 2,
        "num_labels": CLASSES}),
    "ResNet": _hf("ResNetConfig", "ResNetForImageClassification", _images(16), {
        "embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1], "layer_type": "basic",
        "num_labels": CLASSES}),
    "SegFormer": _hf("SegformerConfig", "SegformerForImageClassification", _images(32), {
        "num_encoder_blocks": 2, "depths": [1, 1], "sr_ratios": [2, 1], "hidden_sizes": [8, 16],
        "patch_sizes": [7, 3], "strides": [4, 2], "num_attention_heads": [1, 2],
        "mlp_ratios": [2, 2], "num_labels": CLASSES}),
    "CLIP": Family("transformers", _clip, _pairs),
    "Whisper": _hf("WhisperConfig", "WhisperForConditionalGeneration", _spectrum, {
        "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24,
        "vocab_size": 32, "num_mel_bins": 8, "max_source_positions": 8, "pad_token_id": 0,
        "max_target_positions": 8, "bos_token_id": 1, "eos_token_id": 2,
        "decoder_start_token_id": 1, "begin_suppress_tokens": None}),
    "Wav2Vec2": _hf("Wav2Vec2Config", "Wav2Vec2ForSequenceClassification", _sound, {
        **SMALL, "vocab_size": 32, "conv_dim": [8, 8], "conv_stride": [4, 2], "conv_kernel": [4, 2],
        "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4, "mask_time_prob": 0.0,
        "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 8, "num_labels": CLASSES}),
}  # fmt: skip


# -- timm -----------------------------------------------------------------------------------------


def _timm(name: str, size: int = 32, **settings: Any) -> Family:
    def build() -> nn.Module:
        timm = import_module("timm")
        return Classifier(timm.create_model(name, num_classes=CLASSES, **settings))

    return Family("timm", build, _labelled(3, size, size), {}, True)


def _resnet() -> nn.Module:
    resnet = import_module("timm.models.resnet")
    return Classifier(resnet.ResNet(
        resnet.BasicBlock, layers=(1, 1, 1, 1), channels=(8, 8, 12, 16), stem_width=8,
        num_classes=CLASSES,
    ))  # fmt: skip


def _mixer() -> nn.Module:
    mixer = import_module("timm.models.mlp_mixer")
    return Classifier(mixer.MlpMixer(
        num_classes=CLASSES, img_size=16, patch_size=8, num_blocks=2, embed_dim=16
    ))  # fmt: skip


TIMM = {
    "ResNet (timm)": Family("timm", _resnet, _labelled(3, 32, 32), {}, True),
    "ResNet v2": _timm("resnetv2_50", layers=(1, 1), channels=(16, 32)),
    "EfficientNet": _timm("test_efficientnet"),
    "LCNet (a MobileNet)": _timm("lcnet_035"),
    "ByobNet (RepVGG, bottlenecks)": _timm("test_byobnet"),
    "NFNet (standardised convolutions)": _timm("test_nfnet"),
    "ConvNeXt (timm)": _timm("test_convnext"),
    "MambaOut": _timm("test_mambaout"),
    "ViT (timm)": _timm("test_vit", img_size=32),
    "MLP-Mixer": Family("timm", _mixer, _labelled(3, 16, 16)),
}


# -- spiking --------------------------------------------------------------------------------------


class SnnTorch(nn.Module):
    """Leaky neurons between linear layers, their potentials at the end as scores."""

    def __init__(self) -> None:
        super().__init__()
        snntorch = import_module("snntorch")
        self.fc1, self.lif1 = nn.Linear(6, 10), snntorch.Leaky(beta=0.8)
        self.fc2, self.lif2 = nn.Linear(10, CLASSES), snntorch.Leaky(beta=0.8)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.lif1.init_leaky(), self.lif2.init_leaky()
        for t in range(x.shape[1]):
            spikes, one = self.lif1(3 * self.fc1(x[:, t]), one)
            _, two = self.lif2(self.fc2(spikes), two)
        return two


class SnnTorchRecurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        snntorch = import_module("snntorch")
        self.fc = nn.Linear(6, 10)
        self.lif = snntorch.RLeaky(beta=0.8, linear_features=10)
        self.out = nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        spikes, potential = self.lif.init_rleaky()
        total = 0
        for t in range(x.shape[1]):
            spikes, potential = self.lif(3 * self.fc(x[:, t]), spikes, potential)
            total = total + self.out(spikes)
        return total


class Norse(nn.Module):
    """A recurrent spiking cell, whose two matrices are its own."""

    def __init__(self) -> None:
        super().__init__()
        norse = import_module("norse.torch")
        self.cell, self.out = norse.LIFRecurrentCell(6, 10), nn.Linear(10, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        state, total = None, 0
        for t in range(x.shape[1]):
            spikes, state = self.cell(20 * x[:, t], state)
            total = total + self.out(spikes)
        return total


class SpikingJelly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        based = import_module("spikingjelly.activation_based")
        neuron = import_module("spikingjelly.activation_based.neuron")
        layer = import_module("spikingjelly.activation_based.layer")
        self.functional = import_module("spikingjelly.activation_based.functional")
        del based
        self.body = nn.Sequential(
            layer.Linear(6, 10), neuron.LIFNode(tau=2.0), layer.Linear(10, CLASSES)
        )

    def forward(self, x: Tensor) -> Tensor:
        self.functional.reset_net(self)
        return sum(self.body(3 * x[:, t]) for t in range(x.shape[1]))


def _spiking(package: str, body: Callable[[], nn.Module], double: bool = True) -> Family:
    return Family(package, lambda: Classifier(body()), _labelled(5, 6), {}, double)


SPIKING = {
    "snnTorch Leaky": _spiking("snntorch", SnnTorch, False),
    "snnTorch RLeaky": _spiking("snntorch", SnnTorchRecurrent, False),
    "norse LIFRecurrentCell": _spiking("norse", Norse),
    "SpikingJelly LIFNode": _spiking("spikingjelly", SpikingJelly),
}

# -- policies, whose batches are what they play ----------------------------------------------------


def _policy(name: str, **settings: Any) -> Family:
    def build() -> nn.Module:
        algorithms = import_module("stable_baselines3")
        made = getattr(algorithms, name)(
            "MlpPolicy", "CartPole-v1", n_steps=8, seed=0, device="cpu",
            policy_kwargs={"net_arch": [16, 16]}, **settings,
        )  # fmt: skip
        object.__setattr__(made.policy, "algorithm", made)
        return made.policy

    return Family("stable_baselines3", build, lambda generator: {})


POLICIES = {"A2C": _policy("A2C"), "PPO": _policy("PPO", batch_size=8, n_epochs=1)}

FAMILIES: dict[str, Family] = {**TORCH, **HUGGING_FACE, **TIMM, **SPIKING}
