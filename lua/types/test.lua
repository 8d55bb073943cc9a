---@meta
-- Definitions of `*_test.lua` for lua-language-server.

---@class TestMessage
---@field id string
---@field chat string
---@field from string
---@field text string
---@field bot boolean
---@field mine boolean
---@field reply_to string?

---@class CommandOutcome
---@field ok boolean
---@field text string?
---@field usage string?
---@field unknown string[]?
---@field printed string?
---@field opened string?
---@field history TestMessage[]?
---@field quit boolean?

---@class Test
---@field say fun(who: string, text: string, options?: { chat: string?, reply_to: string?, bot: boolean? }): string?, string?
---@field expect fun(text: string, options?: { chat: string?, within: number? }): TestMessage
---@field match fun(pattern: string, options?: { chat: string?, within: number? }): ...string
---@field silent fun(seconds?: number)
---@field advance fun(seconds: number)
---@field now fun(): number
---@field shown fun(id: string?): string
---@field hidden fun(id: string?): string
---@field command fun(line: string, options?: { chat: (string|false)? }): CommandOutcome
---@field complete fun(line: string, options?: { chat: string? }): string[]
---@field history fun(chat?: string): TestMessage[]
---@field notice fun(pattern: string, options?: { within: number? }): string
---@field http fun(url: string, answer: string|{ status: number?, body: string?, headers: table<string, string>?, error: string? })
---@field requests fun(): { method: string, url: string, headers: table<string, string>, body: string? }[]
---@field reload fun(text?: string): boolean, string?
---@field write fun(file: string, text: string): boolean, string?
---@field restart fun()
---@field files fun(): table<string, string>
---@field eq fun(got: any, wanted: any, what?: string)
---@field ok fun(value: any, what?: string): any
---@field fail fun(reason: string)

---@class TestOptions
---@field config table<string, any>?
---@field rooms string[]?
---@field allow string[]?
---@field chats string[]?
---@field me string?
---@field script string?
---@field scripts string[]?
---@field at number?

---@param name string
---@param options TestOptions|fun(t: Test)
---@param run? fun(t: Test)
function test(name, options, run) end
