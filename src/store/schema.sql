-- A store of records. A record is kept once, as the JSON that `tidemark run --json` writes; every
-- column but id, request and repeat is computed from it by SQLite, so that none can disagree with it.
-- Units as in the record: seconds, bytes, joules. NULL: not measured.

CREATE TABLE records (
  id INTEGER PRIMARY KEY,

  -- What a sweep asked for and which repetition this is; NULL for results that no sweep made.
  -- A sweep finds its place by these and never keeps two results of one.
  request TEXT,
  repeat INTEGER NOT NULL DEFAULT 0,

  source TEXT AS (json ->> '$.source') STORED,
  model TEXT AS (json ->> '$.cell.model') STORED,
  family TEXT AS (json ->> '$.cell.family') STORED,
  device TEXT AS (json ->> '$.cell.device') STORED,
  dtype TEXT AS (json ->> '$.cell.dtype') STORED,
  batch INTEGER AS (json ->> '$.cell.batch') STORED,
  context INTEGER AS (json ->> '$.cell.context') STORED,
  new_tokens INTEGER AS (json ->> '$.cell.new_tokens') STORED,
  chunk INTEGER AS (json ->> '$.cell.chunk') STORED,
  logits TEXT AS (json ->> '$.cell.logits') STORED,
  threads INTEGER AS (json ->> '$.cell.threads') STORED,
  memory_limit_bytes INTEGER AS (json ->> '$.cell.memory_limit_bytes') STORED,

  outcome TEXT AS (json ->> '$.outcome') STORED,
  reason TEXT AS (json ->> '$.reason') STORED,
  weights TEXT AS (json ->> '$.weights') STORED,
  prompt TEXT AS (json ->> '$.prompt') STORED,
  flags TEXT AS (json -> '$.flags') STORED,

  ttft_s REAL AS (json ->> '$.metrics.ttft_s.median') STORED,
  ttft_low_s REAL AS (json ->> '$.metrics.ttft_s.ci_low') STORED,
  ttft_high_s REAL AS (json ->> '$.metrics.ttft_s.ci_high') STORED,
  tpot_s REAL AS (json ->> '$.metrics.tpot_s.median') STORED,
  tpot_low_s REAL AS (json ->> '$.metrics.tpot_s.ci_low') STORED,
  tpot_high_s REAL AS (json ->> '$.metrics.tpot_s.ci_high') STORED,
  end_to_end_s REAL AS (json ->> '$.metrics.end_to_end_s.median') STORED,
  prefill_tokens_per_s REAL AS (json ->> '$.metrics.prefill_tokens_per_s.median') STORED,
  decode_tokens_per_s REAL AS (json ->> '$.metrics.decode_tokens_per_s.median') STORED,
  runs INTEGER AS (json ->> '$.metrics.stopping.runs') STORED,
  prefill_energy_j REAL AS (json ->> '$.prefill_energy.total_j') STORED,
  prefill_idle_energy_j REAL AS (json ->> '$.prefill_energy.baseline_j') STORED,
  decode_energy_j REAL AS (json ->> '$.decode_energy.total_j') STORED,
  decode_idle_energy_j REAL AS (json ->> '$.decode_energy.baseline_j') STORED,

  -- By the plan, and what the arenas' high-water marks were when it ran.
  predicted_weights_bytes INTEGER AS (json ->> '$.memory.predicted.weights') STORED,
  predicted_activation_bytes INTEGER AS (json ->> '$.memory.predicted.activation') STORED,
  predicted_kv_cache_bytes INTEGER AS (json ->> '$.memory.predicted.kv_cache') STORED,
  predicted_ssm_state_bytes INTEGER AS (json ->> '$.memory.predicted.ssm_state') STORED,
  predicted_conv_state_bytes INTEGER AS (json ->> '$.memory.predicted.conv_state') STORED,
  predicted_logits_bytes INTEGER AS (json ->> '$.memory.predicted.logits') STORED,
  predicted_workspace_bytes INTEGER AS (json ->> '$.memory.predicted.workspace') STORED,
  weights_bytes INTEGER AS (json ->> '$.memory.high_water.weights') STORED,
  activation_bytes INTEGER AS (json ->> '$.memory.high_water.activation') STORED,
  kv_cache_bytes INTEGER AS (json ->> '$.memory.high_water.kv_cache') STORED,
  ssm_state_bytes INTEGER AS (json ->> '$.memory.high_water.ssm_state') STORED,
  conv_state_bytes INTEGER AS (json ->> '$.memory.high_water.conv_state') STORED,
  logits_bytes INTEGER AS (json ->> '$.memory.high_water.logits') STORED,
  workspace_bytes INTEGER AS (json ->> '$.memory.high_water.workspace') STORED,
  peak_rss_bytes INTEGER AS (json ->> '$.memory.peak_rss_bytes') STORED,

  device_name TEXT AS (json ->> '$.provenance.device_name') STORED,
  cpu TEXT AS (json ->> '$.provenance.cpu') STORED,
  isa TEXT AS (json ->> '$.provenance.isa') STORED,
  version TEXT AS (json ->> '$.provenance.version') STORED,
  -- "-dirty" when built with uncommitted changes
  "commit" TEXT AS ((json ->> '$.provenance.commit') ||
                    iif(json ->> '$.provenance.dirty', '-dirty', '')) STORED,
  date TEXT AS (json ->> '$.provenance.date') STORED,

  -- Last, so that reading a column does not walk through it.
  json TEXT NOT NULL CHECK (json_valid(json))
);

CREATE UNIQUE INDEX records_by_request ON records (request, "commit", repeat);
CREATE INDEX records_by_model ON records (model, context);

-- One row per raw sample, in the order they were taken.
CREATE VIEW samples AS
  SELECT r.id AS record, m.key AS metric, s.key AS number, s.value AS value
  FROM records r, json_each(r.json, '$.metrics') m, json_each(m.value, '$.samples') s
  WHERE m.type = 'object';

-- One row per decode step of every generation.
CREATE VIEW decode_steps AS
  SELECT r.id AS record, g.key AS generation, s.key AS step, s.value AS time_s
  FROM records r, json_each(r.json, '$.metrics.decode_step_s') g, json_each(g.value) s;

-- One row per tag; high_water_bytes is NULL when nothing ran.
CREATE VIEW memory AS
  SELECT r.id AS record, p.key AS tag, p.value AS predicted_bytes, h.value AS high_water_bytes
  FROM records r, json_each(r.json, '$.memory.predicted') p
    LEFT JOIN json_each(r.json, '$.memory.high_water') h ON h.key = p.key;

-- One row per operator of a phase, summed over the steps of one pass.
CREATE VIEW operators AS
  SELECT r.id AS record, phase.name AS phase, o.value ->> 'index' AS "index", o.value ->> 'op' AS op,
         o.value ->> 'category' AS category, o.value ->> 'role' AS role,
         o.value ->> 'layer' AS layer, o.value ->> 'calls' AS calls,
         o.value ->> 'time_s' AS time_s, o.value ->> 'ops' AS ops,
         o.value ->> 'bytes_read' AS bytes_read, o.value ->> 'bytes_written' AS bytes_written,
         o.value ->> 'implementation' AS implementation
  FROM records r, (SELECT 'prefill' AS name UNION ALL SELECT 'decode') phase,
       json_each(r.json, '$.' || phase.name || '.rows') o;
