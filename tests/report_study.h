// A made-up study with something for every figure: five models, seven contexts, two devices, cells
// that ran out of memory or time, predictions, marks, and a hostile model name.
#pragma once

#include "report/study.h"

namespace tidemark {

Study made_up_study();

}  // namespace tidemark
