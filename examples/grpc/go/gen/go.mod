module exeunt.dev/go // generate.sh makes the rest

go 1.26.0
