/* What every source takes: names with the suffix of a type and an instruction set. */
#include <math.h>
#include <stddef.h>
#include <string.h>

#define LAYER_NORM_EPS 1e-5
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, SUFFIX)
