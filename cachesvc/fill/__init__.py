"""From a miss to a stored chunk: bounds, flights, commits. Knows neither sockets nor LMDB."""
