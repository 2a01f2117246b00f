// Package bench compares gatehouse with other ways to do the same. Its tests
// print the tables of README.md, and fail if a stated ratio is exceeded.
package bench
