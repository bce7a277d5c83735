-- Who calls: compares the SHA-256 of a bearer token with those of the known keys, so that no configuration holds a key.
--
-- Two locals come before this text (see api_keys.py):
--   ACCESS  "Key", "KeyOrAnonymous", "Open" or "Closed"
--   KEYS    lines of "<hash> <client>"
--
-- A known client's name goes on as the header x-sluice-client (for limits) and as metadata sluice:client (for counters).
-- The caller's own Authorization never goes on.

local bit = require("bit")
local band, bnot, bor, bxor = bit.band, bit.bnot, bit.bor, bit.bxor
local lshift, ror, rshift, tobit, tohex = bit.lshift, bit.ror, bit.rshift, bit.tobit, bit.tohex

-- First 32 bits of the fractional part of a number, which is how FIPS 180-4 derives its constants.
local function fraction(x)
  return tobit(math.floor((x - math.floor(x)) * 2 ^ 32))
end

local ROUND, START = {}, {}
do
  local candidate = 2
  while #ROUND < 64 do
    local prime = true
    for divisor = 2, math.floor(math.sqrt(candidate)) do
      prime = prime and candidate % divisor ~= 0
    end
    if prime then
      ROUND[#ROUND + 1] = fraction(candidate ^ (1 / 3))
      if #START < 8 then
        START[#START + 1] = fraction(math.sqrt(candidate))
      end
    end
    candidate = candidate + 1
  end
end

local schedule = {}

local function expand(text, offset)
  for i = 1, 16 do
    local b1, b2, b3, b4 = text:byte(offset + 4 * i - 4, offset + 4 * i - 1)
    schedule[i] = bor(lshift(b1, 24), lshift(b2, 16), lshift(b3, 8), b4)
  end
  for i = 17, 64 do
    local near, far = schedule[i - 2], schedule[i - 15]
    local s0 = bxor(ror(far, 7), ror(far, 18), rshift(far, 3))
    local s1 = bxor(ror(near, 17), ror(near, 19), rshift(near, 10))
    schedule[i] = tobit(schedule[i - 16] + s0 + schedule[i - 7] + s1)
  end
end

local function compress(state)
  local a, b, c, d, e, f, g, h = unpack(state)
  for i = 1, 64 do
    local choice = bxor(band(e, f), band(bnot(e), g))
    local majority = bxor(band(a, b), band(a, c), band(b, c))
    local t1 = tobit(h + bxor(ror(e, 6), ror(e, 11), ror(e, 25)) + choice + ROUND[i] + schedule[i])
    local t2 = tobit(bxor(ror(a, 2), ror(a, 13), ror(a, 22)) + majority)
    a, b, c, d, e, f, g, h = tobit(t1 + t2), a, b, c, tobit(d + t1), e, f, g
  end
  local out = { a, b, c, d, e, f, g, h }
  for i = 1, 8 do
    state[i] = tobit(state[i] + out[i])
  end
end

local function sha256(text)
  local bits = #text * 8
  local size = string.char(band(rshift(bits, 24), 255), band(rshift(bits, 16), 255), band(rshift(bits, 8), 255), band(bits, 255))
  local padded = text .. "\128" .. string.rep("\0", (55 - #text) % 64) .. "\0\0\0\0" .. size
  local state = { unpack(START) }
  for offset = 1, #padded, 64 do
    expand(padded, offset)
    compress(state)
  end
  for i = 1, 8 do
    state[i] = tohex(state[i])
  end
  return table.concat(state)
end

-- One string to parse costs a worker less than a table constructor of thousands of constants to compile.
local clients = {}
for hash, client in KEYS:gmatch("(%x+) (%S+)") do
  clients[hash] = client
end

-- Remembers known keys only, so that strangers can't fill it.
local MAX_REMEMBERED, MAX_KEY_LENGTH = 4096, 512
local remembered, count = {}, 0

local function client_of(key)
  local client = remembered[key]
  if client == nil and #key <= MAX_KEY_LENGTH then
    client = clients[sha256(key)]
    if client ~= nil then
      if count >= MAX_REMEMBERED then
        remembered, count = {}, 0
      end
      remembered[key], count = client, count + 1
    end
  end
  return client
end

local function refuse(handle, status, kind, code, message)
  local body = '{"error":{"message":"' .. message .. '","type":"' .. kind .. '","param":null,"code":"' .. code .. '"}}'
  local headers = { [":status"] = status, ["content-type"] = "application/json" }
  if status == "401" then
    headers["www-authenticate"] = "Bearer"
  end
  handle:respond(headers, body)
end

local function refuse_key(handle, message)
  refuse(handle, "401", "invalid_request_error", "invalid_api_key", message)
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local authorization = headers:get("authorization")
  headers:remove("authorization")
  headers:remove("x-sluice-client")
  if ACCESS == "Closed" then
    refuse(handle, "503", "server_error", "not_configured", "The gateway does not know its clients yet. Try again.")
    return
  end
  local client = nil
  if authorization ~= nil and ACCESS ~= "Open" then
    local key = authorization:match("^[Bb][Ee][Aa][Rr][Ee][Rr] +(%S+)$")
    client = key and client_of(key)
    if client == nil then
      refuse_key(handle, "Incorrect API key provided.")
      return
    end
  end
  if client == nil and ACCESS == "Key" then
    refuse_key(handle, "You didn't provide an API key. Send it as a header: Authorization: Bearer YOUR_KEY.")
    return
  end
  if client ~= nil then
    handle:streamInfo():dynamicMetadata():set("sluice", "client", client)
  end
  -- No Secret has a key with parentheses, so no client can be called so.
  headers:add("x-sluice-client", client or "(anonymous)")
end
