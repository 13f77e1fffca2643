
/*
 * Copyright (C) nginx-llm contributors
 *
 * A management library that lacks functions, for tests.
 */


#define FAKE_NVML_OLD
#include "fake_nvml.c"
