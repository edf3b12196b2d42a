package main

func quantMulUnit()    {}
func quantMul512Unit() {}
