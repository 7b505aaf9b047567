#include "app/commands.h"

#include "app/options.h"
#include "measure/provenance.h"
#include "store/store.h"

namespace tidemark {

void add_commands(CLI::App& app, int& exit_code) {
  app.require_subcommand(0, 1);  // main.cpp says what is missing
  app.set_version_flag("--version", [] {
    const Provenance p = machine_provenance();
    return fmt::format("tidemark {} ({})", p.version, commit_label(p));
  });
  add_run_command(app, exit_code);
  add_models_command(app, exit_code);
  add_show_command(app, exit_code);
  add_explain_command(app, exit_code);
  add_verify_command(app, exit_code);
  add_limit_command(app, exit_code);
  add_sweep_command(app, exit_code);
  add_merge_command(app, exit_code);
  add_export_command(app, exit_code);
  add_compare_command(app, exit_code);
  add_crossover_command(app, exit_code);
  add_predict_command(app, exit_code);
  add_devices_command(app, exit_code);
  add_prediction_error_command(app, exit_code);
  add_whatif_command(app, exit_code);
  add_calibrate_command(app, exit_code);
  add_report_command(app, exit_code);
  add_trace_command(app, exit_code);
  add_completion_command(app, exit_code);
  add_run_cell_command(app, exit_code);
  refuse_empty_values(app);
}

}  // namespace tidemark
