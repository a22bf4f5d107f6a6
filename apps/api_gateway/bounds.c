/*
 * bounds.c - Clopper and Pearson (Biometrika 26, 1934): quantiles of a beta distribution, by bisection.
 */
#include "api_gateway/bounds.h"

#include <math.h>

enum { TERMS_MAX = 1000, HALVINGS = 80 };

/** Lentz's method for the continued fraction of the incomplete beta function (DLMF 8.17.22). */
static double fraction(double x, double a, double b) {
    const double tiny = 1e-300;
    double c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (fabs(d) < tiny ? tiny : d);
    double h = d;
    for (int m = 1; m <= TERMS_MAX; m++) {
        double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
        double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
        double before = h;
        for (int i = 0; i < 2; i++) {
            double term = i == 0 ? even : odd;
            d = 1 + term * d;
            c = 1 + term / c;
            d = 1 / (fabs(d) < tiny ? tiny : d);
            c = fabs(c) < tiny ? tiny : c;
            h *= d * c;
        }
        if (fabs(h - before) < 1e-13 * fabs(h))
            break;
    }
    return h;
}

/** I_x(a, b): the probability that a beta variable is at most x. */
static double beta_cdf(double x, double a, double b) {
    if (x <= 0 || x >= 1)
        return x <= 0 ? 0 : 1;
    double front = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x));
    if (x < (a + 1) / (a + b + 2))
        return front * fraction(x, a, b) / a;
    return 1 - front * fraction(1 - x, b, a) / b;
}

static double beta_quantile(double p, double a, double b) {
    double low = 0, high = 1;
    for (int i = 0; i < HALVINGS; i++) {
        double middle = (low + high) / 2;
        if (beta_cdf(middle, a, b) < p)
            low = middle;
        else
            high = middle;
    }
    return high;
}

double rate_upper_bound(uint64_t k, uint64_t n, double confidence) {
    if (k >= n)
        return 1;
    return beta_quantile(confidence, (double)k + 1, (double)(n - k));
}

double rate_lower_bound(uint64_t k, uint64_t n, double confidence) {
    if (k == 0 || n == 0)
        return 0;
    return beta_quantile(1 - confidence, (double)k, (double)(n - k) + 1);
}
