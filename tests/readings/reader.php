<?php
// The router of `php -S`: answers each request with the names in it, and with what PHP finds at the places in the header.
$body = file_get_contents('php://input');
$objects = [$_GET, $_POST, $_FILES];
$json = json_decode($body, true);
if (is_array($json)) {
    $objects[] = $json;
}

// Everything at a place in a value: `*` stands for the elements of a list, or for one element without its list.
function at($value, array $place): array
{
    if ($place === []) {
        return [$value];
    }
    $rest = array_slice($place, 1);
    $found = [];
    if ($place[0] === '*') {
        foreach (is_array($value) ? $value : [] as $element) {
            $found = array_merge($found, at($element, $rest));
        }
        $is_list = is_array($value) && array_is_list($value);
        return $is_list ? $found : array_merge($found, at($value, $rest));
    }
    if (!is_array($value)) {
        return [];
    }
    if (array_is_list($value) && count($value) === 1) {
        return at($value[0], $place);
    }
    return array_key_exists($place[0], $value) ? at($value[$place[0]], $rest) : [];
}

$names = [];
$values = [];
$places = array_filter(explode(' ', $_SERVER['HTTP_PLACES'] ?? ''));
foreach ($objects as $object) {
    foreach ($object as $name => $value) {
        $names[] = (string) $name;
    }
    foreach ($places as $place) {
        $values = array_merge($values, at($object, explode('/', $place)));
    }
}
header('Content-Type: application/json');
echo json_encode(['names' => $names, 'values' => $values], JSON_INVALID_UTF8_SUBSTITUTE);
