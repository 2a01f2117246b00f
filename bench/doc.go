// Package bench measures gatehouse beside other ways to do the same. Its tests
// print the tables of README.md and fail when a stated ratio is exceeded.
package bench
