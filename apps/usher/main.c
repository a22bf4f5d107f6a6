/*
 * main.c - where it begins.
 */
#include "usher/cli.h"

int main(int argc, char **argv) {
    return cli_main(argc, argv);
}
