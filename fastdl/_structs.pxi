# The argument structs of csrc/fastdl.h; `real *` is `void *` outside the kernels.
cdef extern from "fastdl.h" nogil:
    ctypedef struct fdl_matmul_args:
        void *c
        const void *a
        const void *b
        const void *bias
        int64_t m, n, k, lda, ldb, ldc
        int64_t batch, stride_a, stride_b, stride_c
        int trans_a, trans_b, accumulate, activation
        void *scratch
    ctypedef struct fdl_rnn_args:
        int64_t t, b, h
        const int64_t *batch_sizes
        int reverse
        int relu
        const void *gx
        const void *w_hh
        const void *b_hn
        const void *h0
        const void *c0
        void *y
        int64_t ldy
        void *hn
        void *cn
        void *gates
        void *saved
        const void *dy
        int64_t lddy
        const void *dhn
        const void *dcn
        void *dgx
        void *dgh_n
        void *dh0
        void *dc0
        void *scratch
        int is_packed
    ctypedef struct fdl_conv_args:
        int64_t n, groups, ci, co, h, w, oh, ow, kh, kw
        int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w
        const void *x
        const void *weight
        const void *bias
        void *y
        const void *dy
        void *dx
        void *dw
        void *db
        void *scratch
    ctypedef struct fdl_pool_args:
        int64_t planes, h, w, oh, ow, kh, kw
        int64_t stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w
        int64_t divisor
        int count_padding
        const void *x
        void *y
        void *index
        const void *dy
        void *dx
    ctypedef struct fdl_attention_args:
        int64_t b, h, hk, tq, tk, d, e
        const void *q
        const void *k
        const void *v
        void *out
        int64_t q_step[3]
        int64_t k_step[3]
        int64_t v_step[3]
        int64_t out_step[3]
        void *lse
        const uint8_t *keep
        const void *add
        int64_t mask_step[4]
        const int64_t *lengths
        int causal
        double scale, dropout
        uint64_t seed, stream
        const void *dout
        void *dq
        void *dk
        void *dv
        int64_t dout_step[3]
        int64_t dq_step[3]
        int64_t dk_step[3]
        int64_t dv_step[3]
        void *dmask
        void *scratch
