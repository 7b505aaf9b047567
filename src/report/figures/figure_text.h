// A figure on a terminal: its table with a bar, columns that say nothing left out.
#pragma once

#include <string>

#include "report/figures/figure.h"
#include "report/text.h"

namespace tidemark {

std::string figure_text(const Figure&, const FigureContent&, const Style&);

}  // namespace tidemark
