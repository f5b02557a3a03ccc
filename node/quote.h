/* What a file or a user said, as it may stand in a message: no control characters, not too long. */
#ifndef HM_NODE_QUOTE_H
#define HM_NODE_QUOTE_H

#include "protocol/text.h"

struct hm_quote {
    char text[80];
};

static inline struct hm_quote hm_quote(const char *text)
{
    struct hm_quote quote;
    hm_text_clean(quote.text, sizeof quote.text, text);
    return quote;
}

#endif
