#!/usr/bin/env python3
"""Tiny checkpoints like those of golden/ at other sizes, with what transformers computes from them.

  python3 tests/data/golden_variants.py OUT     (torch, transformers 5.17; about half a minute)

Random weights, norms, biases, A, D and dt shaken away from their defaults. The variants kept beside
this file were made by it: bamba-bias, granite-moe, jamba-moe, nemotron-moe, nemotron-sizes,
phi3-longrope-long, qwen3-next-moe and zamba2-norope (here zamba2-untied); and, drawn as drawn() has it,
falcon-h1-before, falcon-mamba-bias, llama-yarn-gelu, mamba2-limit and phi3-longrope-crossing.
mamba, mamba2 and falcon_mamba hand out a layer's output where the others hand out its input; that is
put right here (states()).
Hymba needs hymba_ref.py, its reference in plain PyTorch, on the path; without it those are skipped.
"""
import json, os, sys, math, traceback, warnings
warnings.filterwarnings("ignore")
import torch
from safetensors.torch import save_file
torch.set_num_threads(4)
out = sys.argv[1]
os.makedirs(out, exist_ok=True)
here = os.path.dirname(os.path.abspath(__file__))
def cfg(name): return json.load(open(f"{here}/golden/{name}/config.json"))
V = []
def v(name, base, drop=(), **kw):
    c = cfg(base)
    for k in drop: c.pop(k, None)
    c.update(kw); V.append((name, c))
R = lambda **k: {"rope_parameters": k}
v("llama-heads", "llama-3.2-tiny", hidden_size=96, num_attention_heads=6, num_key_value_heads=3, head_dim=24, intermediate_size=200, vocab_size=131, tie_word_embeddings=False)
v("llama-bias", "tinyllama-tiny", attention_bias=True, mlp_bias=True, num_key_value_heads=8)
v("llama-linear", "tinyllama-tiny", **R(rope_type="linear", factor=4.0, rope_theta=10000.0))
v("llama-dynamic", "tinyllama-tiny", max_position_embeddings=64, **R(rope_type="dynamic", factor=2.0, rope_theta=10000.0))
v("llama-yarn", "tinyllama-tiny", max_position_embeddings=256, **R(rope_type="yarn", factor=4.0, rope_theta=10000.0, original_max_position_embeddings=64))
v("llama-gelu", "tinyllama-tiny", hidden_act="gelu", head_dim=16)
v("qwen2-sliding", "qwen2.5-tiny", drop=("layer_types",), use_sliding_window=True, sliding_window=12, max_window_layers=2)
v("qwen2-sizes", "qwen2.5-tiny", hidden_size=80, num_attention_heads=5, num_key_value_heads=5, tie_word_embeddings=False, vocab_size=200)
v("qwen3-sizes", "qwen3-tiny", hidden_size=72, num_attention_heads=6, num_key_value_heads=1, head_dim=16, tie_word_embeddings=False)
v("qwen3-sliding", "qwen3-tiny", drop=("layer_types",), use_sliding_window=True, sliding_window=9, max_window_layers=1)
v("phi3-gqa", "phi3-tiny", num_key_value_heads=2, hidden_size=96, sliding_window=None)
v("phi3-partial", "phi3-tiny", sliding_window=11, rope_parameters={"rope_type":"default","rope_theta":10000.0,"partial_rotary_factor":0.5}, partial_rotary_factor=0.5)
v("phi3-longrope-short", "phi3-tiny", sliding_window=None, max_position_embeddings=256, original_max_position_embeddings=64,
  rope_parameters={"rope_type":"longrope","rope_theta":10000.0,"short_factor":[1.0+0.05*i for i in range(8)],"long_factor":[1.0+0.5*i for i in range(8)],"original_max_position_embeddings":64,"partial_rotary_factor":1.0})
v("phi3-longrope-long", "phi3-tiny", sliding_window=None, max_position_embeddings=256, original_max_position_embeddings=16,
  rope_parameters={"rope_type":"longrope","rope_theta":10000.0,"short_factor":[1.0+0.05*i for i in range(8)],"long_factor":[1.0+0.5*i for i in range(8)],"original_max_position_embeddings":16,"partial_rotary_factor":1.0})
v("gpt-neo-sizes", "gpt-neo-tiny", hidden_size=96, num_heads=6, window_size=5, intermediate_size=100, num_layers=3, attention_types=[[["local","global","global"],1]], attention_layers=["local","global","global"], vocab_size=99)
v("mamba-sizes", "mamba-tiny", hidden_size=48, intermediate_size=144, expand=3, state_size=8, conv_kernel=3, time_step_rank=5, tie_word_embeddings=False)
v("mamba-bias", "mamba-tiny", use_bias=True, use_conv_bias=False, state_size=24)
v("falcon-mamba-sizes", "falcon-mamba-tiny", hidden_size=48, intermediate_size=96, state_size=12, time_step_rank=7, conv_kernel=3, tie_word_embeddings=True, use_bias=True)
v("mamba2-sizes", "mamba2-tiny", hidden_size=48, num_heads=3, head_dim=32, n_groups=1, state_size=24, chunk_size=8, conv_kernel=3, tie_word_embeddings=False)
v("mamba2-groups4", "mamba2-tiny", n_groups=4, chunk_size=64, use_bias=True, use_conv_bias=False)
v("mamba2-limit", "mamba2-tiny", time_step_limit=[0.01, 0.2])
v("falcon-h1-norm", "falcon-h1-tiny", mamba_rms_norm=True, mamba_n_groups=2, mamba_d_ssm=128, mamba_n_heads=4, mamba_d_head=32, mamba_d_state=16, num_key_value_heads=1)
v("falcon-h1-before", "falcon-h1-tiny", mamba_rms_norm=True, mamba_norm_before_gate=True, mamba_chunk_size=32)
v("falcon-h1-bias", "falcon-h1-tiny", attention_bias=True, mlp_bias=True, projectors_bias=True, mamba_proj_bias=True, tie_word_embeddings=True, mamba_conv_bias=False)
v("bamba-sizes", "bamba-tiny", attn_layer_indices=[0,3], mamba_n_groups=2, mamba_d_state=32, mamba_chunk_size=8, num_key_value_heads=4, tie_word_embeddings=True, rope_parameters={"partial_rotary_factor":1.0,"rope_theta":10000.0,"rope_type":"default"}, partial_rotary_factor=1.0)
v("bamba-bias", "bamba-tiny", attention_bias=True, mlp_bias=True, mamba_proj_bias=True, mamba_conv_bias=False)
v("granite-rope", "granite-hybrid-tiny", position_embedding_type="rope", num_key_value_heads=1, mamba_n_groups=4, attention_multiplier=0.3, tie_word_embeddings=False)
v("granite-moe", "granite-hybrid-tiny", num_local_experts=6, num_experts_per_tok=3, intermediate_size=48, shared_intermediate_size=80)
v("granite-moe-bias", "granite-hybrid-tiny", num_local_experts=4, num_experts_per_tok=1, attention_bias=True, mamba_proj_bias=True)
v("jamba-moe", "jamba-tiny", num_experts=4, num_experts_per_tok=2, attn_layer_offset=1, attn_layer_period=3, num_hidden_layers=5)
v("jamba-sizes", "jamba-tiny", hidden_size=96, num_attention_heads=6, num_key_value_heads=2, mamba_d_state=8, mamba_dt_rank=9, mamba_expand=1, tie_word_embeddings=True, mamba_proj_bias=True, mamba_conv_bias=False)
v("lfm2-sizes", "lfm2-tiny", hidden_size=96, num_attention_heads=6, num_key_value_heads=3, conv_L_cache=4, conv_bias=True, intermediate_size=160, block_auto_adjust_ff_dim=False, layer_types=["full_attention","conv","conv","full_attention"], full_attn_idxs=[0,3])
v("lfm2-mult", "lfm2-tiny", block_multiple_of=32, block_ffn_dim_multiplier=1.3, intermediate_size=192)
v("nemotron-sizes", "nemotron-h-tiny", n_groups=4, num_key_value_heads=1, mamba_head_dim=8, mamba_num_heads=16, ssm_state_size=32, head_dim=8, tie_word_embeddings=True, layers_block_type=["full_attention","mlp","linear_attention","mlp"], num_hidden_layers=4)
v("nemotron-bias", "nemotron-h-tiny", attention_bias=True, mlp_bias=True, use_bias=True, mamba_proj_bias=True, use_conv_bias=False)
v("nemotron-moe", "nemotron-h-tiny", layers_block_type=["linear_attention","moe","full_attention","moe"], moe_intermediate_size=40, moe_shared_expert_intermediate_size=56, n_routed_experts=6, num_experts_per_tok=2, routed_scaling_factor=1.7, n_group=2, topk_group=1, num_hidden_layers=4)
v("qwen3-next-moe", "qwen3-next-tiny", mlp_only_layers=[1], num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40, shared_expert_intermediate_size=56)
v("qwen3-next-sizes", "qwen3-next-tiny", linear_num_key_heads=1, linear_num_value_heads=4, linear_key_head_dim=24, linear_value_head_dim=8, linear_conv_kernel_dim=3, layer_types=["full_attention","linear_attention","linear_attention","full_attention"], num_key_value_heads=1, head_dim=16, tie_word_embeddings=True, rope_parameters={"partial_rotary_factor":0.5,"rope_theta":10000.0,"rope_type":"default"}, partial_rotary_factor=0.5)
v("recurrent-gemma-sizes", "recurrent-gemma-tiny", num_hidden_layers=5, attention_window_size=7, num_key_value_heads=2, lru_width=96, hidden_size=64, block_types=["recurrent","attention","recurrent"], conv1d_width=3)
v("zamba2-blocks3", "zamba2-1.2b-tiny", num_mem_blocks=2, use_shared_attention_adapter=False, adapter_rank=4, mamba_ngroups=2, chunk_size=8)
v("zamba2-norope", "zamba2-1.2b-tiny", use_mem_rope=False, adapter_rank=16, tie_word_embeddings=False, num_key_value_heads=4)
v("zamba2-27-adapter", "zamba2-2.7b-tiny", use_shared_attention_adapter=True, use_mem_rope=True, num_mem_blocks=2, mamba_d_state=32)
def hymba(**kw):
    c = cfg("hymba-tiny"); c.update(kw); return c
V.append(("hymba-sizes", hymba(hidden_size=96, num_attention_heads=6, num_key_value_heads=3, num_memory_tokens=5, sliding_window=7, kv_reuse_group=[[1,2],[4,5]], global_attn_idx=[0,3], mamba_d_state=8, mamba_dt_rank=6)))
V.append(("hymba-plain", hymba(rope_type="default", tie_word_embeddings=False, kv_reuse_group=[], num_memory_tokens=16, global_attn_idx=[2], num_key_value_heads=4, mamba_expand=1)))

# The class's own config with these keys, its weights drawn by drawn(); the seed is a word's letters.
D = []
def d(word, name, kind, **kw): D.append((sum(ord(a) * (i + 7) for i, a in enumerate(word)), name, kind, kw))
B = dict(vocab_size=131, hidden_size=48, num_hidden_layers=3, num_attention_heads=6, num_key_value_heads=3, intermediate_size=100, bos_token_id=1, eos_token_id=2, pad_token_id=0)
M = dict(vocab_size=131, hidden_size=48, num_hidden_layers=3, conv_kernel=3, use_bias=True, use_conv_bias=False, tie_word_embeddings=False)
# Its original length lies between the prompt of 37 tokens and the last of 8 new ones.
d("phi3-lr40", "phi3-longrope-crossing", "phi3", **B, tie_word_embeddings=True, max_position_embeddings=256, original_max_position_embeddings=40, partial_rotary_factor=1.0,
  rope_parameters=dict(rope_theta=10000.0, rope_type="longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.0, 2.0, 3.0, 4.0]))
d("llama-yarn", "llama-yarn-gelu", "llama", **B, tie_word_embeddings=True, max_position_embeddings=64, hidden_act="gelu", rope_parameters=dict(rope_theta=10000.0, rope_type="yarn", factor=4.0, original_max_position_embeddings=16))
d("fmamba-b", "falcon-mamba-bias", "falcon_mamba", **M, state_size=8, time_step_rank=5, expand=3, intermediate_size=80, mixer_rms_eps=1e-3)
d("mamba2-g", "mamba2-limit", "mamba2", **M, num_heads=8, head_dim=12, n_groups=4, state_size=10, chunk_size=8, time_step_limit=(0.05, 0.3))
d("fh1-0", "falcon-h1-before", "falcon_h1", **B, mamba_n_groups=2, mamba_d_state=10, mamba_chunk_size=8, mamba_d_conv=3, mamba_n_heads=6, mamba_d_head=12, mamba_d_ssm=72, mamba_rms_norm=True, mamba_norm_before_gate=True, projectors_bias=False, attention_bias=False,
  mamba_proj_bias=False, mlp_bias=False, mamba_conv_bias=True, tie_word_embeddings=False, time_step_limit=(0.05, 0.3), key_multiplier=0.6, attention_in_multiplier=1.3, attention_out_multiplier=0.7, ssm_in_multiplier=1.2, ssm_out_multiplier=0.8,
  ssm_multipliers=[0.9, 0.8, 1.1, 1.2, 0.7], mlp_multipliers=[0.8, 1.4], embedding_multiplier=2.5, lm_head_multiplier=0.4)

def drawn(m):
    for n, p in m.named_parameters():
        if "A_log" in n: p.add_(torch.rand_like(p) - 0.5)
        elif n.endswith(".D"): p.add_(0.3 * torch.randn_like(p))
        elif "dt_proj.bias" in n or "dt_bias" in n: p.copy_(torch.rand_like(p) * 4 - 4)
        elif p.dim() == 1: p.add_(0.2 * torch.randn_like(p))
        elif "conv" in n: p.copy_(0.5 * torch.randn_like(p))
        else: p.copy_(torch.randn_like(p) * (1.0 if "embed" in n else p.shape[-1] ** -0.5))

def shake(sd, seed):
    g = torch.Generator().manual_seed(seed)
    new = {}
    for k, p in sd.items():
        if not p.is_floating_point(): new[k] = p; continue
        n = torch.randn(p.shape, generator=g)
        if "A_log" in k or k.endswith("A_log.0"):
            new[k] = p + 0.1 * n if p.abs().sum() > 0 else torch.log(1 + 8 * torch.rand(p.shape, generator=g))
        elif "conv" in k and p.dim() == 3: new[k] = 0.4 * n
        elif p.dim() >= 2:
            new[k] = n * ((1.0 / math.sqrt(p.shape[-1])) if "embed" not in k else 0.5)
        else:
            new[k] = p + 0.15 * n
    return new

# What enters each layer, and what leaves the final norm.
def states(m, ids, hidden):
    if m.config.model_type not in ("mamba", "mamba2", "falcon_mamba"): return hidden
    return (m.get_input_embeddings()(ids),) + hidden[:-2] + hidden[-1:]

def prompt(vocab, seed):
    return torch.randint(0, vocab, (2, 37), generator=torch.Generator().manual_seed(1000 + seed))

def golden(fn, ids, path, layers):
    logits, hidden = fn(ids)
    t = {"input_ids": ids, "logits": logits.float().contiguous()}
    if hidden is not None and len(hidden) == layers + 1:
        for i, h in enumerate(hidden): t[f"hidden_{i}"] = h.float().contiguous().clone()
    cur, dl, di = ids, [], []
    for _ in range(8):
        l = fn(cur)[0][:, -1].float(); n = l.argmax(-1)
        dl.append(l); di.append(n); cur = torch.cat([cur, n[:, None]], 1)
    t["decode_ids"] = torch.stack(di, 1).contiguous(); t["decode_logits"] = torch.stack(dl, 1).contiguous()
    save_file({k: x.clone() for k, x in t.items()}, path + "/golden.safetensors")

from transformers import AutoConfig, AutoModelForCausalLM
import transformers
transformers.logging.set_verbosity_error()
for i, (name, c) in enumerate(V):
    path = f"{out}/{name}"; os.makedirs(path, exist_ok=True)
    try:
        with torch.no_grad():
            if c["model_type"] == "hymba":
                import hymba_ref
                torch.manual_seed(i)
                w = {k: (torch.ones(s) if "norm" in k else torch.zeros(s)) for k, s in hymba_ref.shapes(c).items()}
                w = shake(w, i)
                json.dump(c, open(path + "/config.json", "w"))
                save_file(w, path + "/model.safetensors")
                def fn(ids):
                    r = hymba_ref.forward(c, w, ids); r = r if isinstance(r, tuple) else (r, None)
                    return r[0], r[1]
                golden(fn, prompt(c["vocab_size"], i), path, c["num_hidden_layers"])
            else:
                c.pop("transformers_version", None)
                json.dump(c, open(path + "/config.json", "w"))
                config = AutoConfig.from_pretrained(path)
                config._attn_implementation = "eager"
                torch.manual_seed(i)
                m = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
                sd = m.state_dict(); new = shake(sd, i)
                done = {}
                for k, p in sd.items():
                    if p.data_ptr() in done and p.numel() > 0 and done[p.data_ptr()].shape == p.shape: continue
                    p.copy_(new[k]); done[p.data_ptr()] = p
                m.save_pretrained(path)
                def fn(ids):
                    r = m(ids, use_cache=False, output_hidden_states=True)
                    return r.logits, states(m, ids, r.hidden_states)
                golden(fn, prompt(config.vocab_size, i), path, config.num_hidden_layers)
        print("made", name, flush=True)
    except Exception as e:
        print("FAILED", name, type(e).__name__, str(e).splitlines()[:2], flush=True)
        if os.environ.get("TRACE"): traceback.print_exc()
        import shutil; shutil.rmtree(path, ignore_errors=True)

for seed, name, kind, kw in D:
    path = f"{out}/{name}"
    with torch.no_grad():
        torch.manual_seed(seed)
        m = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **kw), attn_implementation="eager").float().eval()
        drawn(m)
        m.save_pretrained(path)
        def fn(ids):
            r = m(ids, use_cache=False, output_hidden_states=True)
            return r.logits, states(m, ids, r.hidden_states)
        golden(fn, torch.randint(0, m.config.vocab_size, (2, 37)), path, m.config.num_hidden_layers)
    print("made", name, flush=True)
