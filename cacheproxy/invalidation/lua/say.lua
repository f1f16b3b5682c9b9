-- KEYS: any in the bus's slot. ARGV: bus, messages...

for i = 2, #ARGV do
  tell(ARGV[1], ARGV[i])
end
return #ARGV - 1
