#pragma once

#include <string>
#include <string_view>

namespace tidemark {

// From the text of /proc/cpuinfo: the model name of x86, or on ARM the board's model or the parts
// of the cores ("4 x ARM Cortex-A76").
std::string cpu_model(std::string_view cpuinfo);

std::string this_cpu();

}  // namespace tidemark
