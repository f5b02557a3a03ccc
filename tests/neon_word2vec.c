/* Word2Vec's kernels against the reference, as a program that needs no library: tests/test_neon.py
 * builds it for aarch64 and runs it under an emulator. One line a table; exit code 1 when one is
 * off.
 */
#include "tests/word2vec_check.h"

int main(void)
{
    int failed = 0;
    for (unsigned k = 0; hm_w2v_kernels_at(k); k++) {
        char worst[160];
        double error = w2v_error_of(hm_w2v_kernels_at(k), worst);
        printf("%s: %s is off by %.2g\n", hm_w2v_kernels_at(k)->name, worst, error);
        failed |= !(error <= W2V_TOLERANCE);
    }
    return failed;
}
