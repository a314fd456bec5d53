#!/usr/bin/ruby
# ruby-gitlab as a library. Commands and answers are those of floor.c and of python_gitlab.py.

require 'gitlab'

client = Gitlab.client(endpoint: "#{ARGV[0]}/api/v4", private_token: ARGV[1])
path = '/personal_access_tokens'

list = lambda do |query|
  filters = query.split('&').reject(&:empty?).to_h { |pair| pair.split('=') }
  client.get(path, query: { per_page: 100 }.merge(filters)).auto_paginate.size
end

rotate = lambda do |argument|
  expires_at, ids = argument.split(' ')
  ids.split(',').map { |id| client.post("#{path}/#{id}/rotate", body: { expires_at: expires_at }).token }.size
end

commands = {
  'list' => list,
  # The library does not show the totals of a list.
  'count' => ->(_) { list.call('') },
  'get' => ->(ids) { ids.split(',').map { |id| client.get("#{path}/#{id}") }.size },
  'delete' => ->(ids) { ids.split(',').map { |id| client.delete("#{path}/#{id}") }.size },
  'rotate' => rotate
}

$stdout.sync = true
$stdin.each_line(chomp: true) do |line|
  command, argument = line.split(' ', 2)
  puts commands.fetch(command).call(argument || '')
end
