// Every subcommand: one cmd_<name>.cpp that registers itself on the CLI11 application. A command's
// callback sets `exit_code`; Error ends the program with one line and exit_error.
#pragma once

#include <CLI/CLI.hpp>

namespace tidemark {

inline constexpr const char* program_description =
    "Tidemark: how language models behave as the context grows - Transformers, state-space models "
    "and hybrids";

void add_models_command(CLI::App& app, int& exit_code);
void add_show_command(CLI::App& app, int& exit_code);
void add_explain_command(CLI::App& app, int& exit_code);
void add_verify_command(CLI::App& app, int& exit_code);
void add_run_command(CLI::App& app, int& exit_code);
void add_run_cell_command(CLI::App& app, int& exit_code);
void add_sweep_command(CLI::App& app, int& exit_code);
void add_merge_command(CLI::App& app, int& exit_code);
void add_export_command(CLI::App& app, int& exit_code);
void add_compare_command(CLI::App& app, int& exit_code);
void add_limit_command(CLI::App& app, int& exit_code);
void add_crossover_command(CLI::App& app, int& exit_code);
void add_predict_command(CLI::App& app, int& exit_code);
void add_devices_command(CLI::App& app, int& exit_code);
void add_prediction_error_command(CLI::App& app, int& exit_code);
void add_whatif_command(CLI::App& app, int& exit_code);
void add_calibrate_command(CLI::App& app, int& exit_code);
void add_report_command(CLI::App& app, int& exit_code);
void add_trace_command(CLI::App& app, int& exit_code);
void add_completion_command(CLI::App& app, int& exit_code);

// All of them, in the order --help lists them.
void add_commands(CLI::App& app, int& exit_code);

}  // namespace tidemark
