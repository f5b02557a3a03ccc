/* Arrays for numpy (version 1.0 of its format): a header of HM_NPY_HEADER bytes, then the numbers.
 */
#ifndef HM_MODELS_NPY_H
#define HM_MODELS_NPY_H

enum { HM_NPY_HEADER = 128 };

/* descr as numpy names the type ("<f4"), shape as a tuple ("(3, 5)", "(3,)"); at most 60 characters
 * of it. */
void hm_npy_header(const char *descr, const char *shape, char header[HM_NPY_HEADER]);

#endif
