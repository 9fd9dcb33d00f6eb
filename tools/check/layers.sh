#!/bin/bash
# Layer rule: an include never points against
#   base <- {format, text, quant} <- {data, backend} <- model <- {train, infer, export} <- eval <- cli
# Folders of one pair of braces do not know each other, except that data reads text through a
# tokenizer and files through format. eqat.h may be included from everywhere, tests include all.
set -u
cd "$(dirname "$0")/../.." || exit 1
declare -A may=(
    [base]="base"
    [format]="base format"
    [text]="base text"
    [quant]="base quant"
    [data]="base format text quant data"
    [backend]="base quant backend"
    [model]="base format text quant data backend model"
    [train]="base format text quant data backend model train"
    [infer]="base format text quant data backend model infer"
    [eval]="base format text quant data backend model infer eval"
    [export]="base format text quant data backend model export"
    [cli]="base bench cli"
)
bad=0
while IFS=: read -r file line include; do
    case $file in
    src/*) from=${file#src/}; from=${from%%/*} ;;
    cli/*) from=cli ;;
    esac
    path=${include#*\"}; path=${path%%\"*}
    case $path in
    eqat.h) continue ;;
    */*) to=${path%%/*} ;;
    *) # A bare name is a neighbour in the same folder, or bench/'s.
        if [ -f "$(dirname "$file")/$path" ]; then to=$from
        elif [ -f "bench/$path" ]; then to=bench
        else to="nowhere"; fi ;;
    esac
    if [ -z "${may[$from]:-}" ]; then
        echo "$file:$line: src/$from is no layer (tools/check/layers.sh lists them)"; bad=1
    elif [[ " ${may[$from]} " != *" $to "* ]]; then
        echo "$file:$line: $from must not include $to: $path"; bad=1
    fi
done < <(grep -nE '^ *# *include +"' -r src cli --include='*.[ch]' --include='*.cu' --include='*.cuh')
exit $bad
