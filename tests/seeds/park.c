#include <x.h>
/* doc */
int open(int h) {
  return h < 6 ? 0 : 1;
}
struct park { int a; };
