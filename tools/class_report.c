#include "tools/class_report.h"

/* Of one class: how many of those taken for it were, how many of it were found, and both in one. */
static json_t *figures_of(uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n,
                          unsigned which)
{
    uint64_t right = table[which][which], taken = 0, are = 0;
    for (unsigned i = 0; i < n; i++) {
        are += table[which][i];
        taken += table[i][which];
    }
    double precision = taken ? (double)right / (double)taken : 0,
           recall = are ? (double)right / (double)are : 0,
           f1 = right ? 2 * precision * recall / (precision + recall) : 0;
    return json_pack("{s:i, s:I, s:f, s:f, s:f}", "class", (int)which, "n", (json_int_t)are,
                     "precision", precision, "recall", recall, "f1", f1);
}

json_t *class_report(uint64_t table[HM_CLASSES_MAX][HM_CLASSES_MAX], unsigned n)
{
    json_t *classes = json_array(), *rows = json_array();
    for (unsigned i = 0; i < n; i++) {
        json_t *row = json_array();
        for (unsigned k = 0; k < n; k++)
            json_array_append_new(row, json_integer((json_int_t)table[i][k]));
        json_array_append_new(rows, row);
        json_array_append_new(classes, figures_of(table, n, i));
    }
    return json_pack("{s:o, s:o}", "classes", classes, "confusion", rows);
}

static double figure(const json_t *class, const char *name)
{
    return json_number_value(json_object_get(class, name));
}

void class_report_print(const json_t *report, FILE *out)
{
    const json_t *classes = json_object_get(report, "classes"),
                 *rows = json_object_get(report, "confusion");
    size_t n = json_array_size(classes);
    fprintf(out, "class  precision  recall      f1   taken for");
    for (size_t i = 0; i < n; i++)
        fprintf(out, " %6zu", i);
    fputc('\n', out);
    for (size_t i = 0; i < n; i++) {
        const json_t *class = json_array_get(classes, i), *row = json_array_get(rows, i);
        fprintf(out, "%5zu     %6.4f  %6.4f  %6.4f            ", i, figure(class, "precision"),
                figure(class, "recall"), figure(class, "f1"));
        for (size_t k = 0; k < n; k++)
            fprintf(out, " %6lld", (long long)json_integer_value(json_array_get(row, k)));
        fputc('\n', out);
    }
}
