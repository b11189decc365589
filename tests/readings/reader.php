<?php
// The router of `php -S`: answers each request with the names and senders that PHP finds in it.
$body = file_get_contents('php://input');
$objects = [$_GET, $_POST, $_FILES];
$json = json_decode($body, true);
if (is_array($json)) {
    $objects[] = $json;
}

$names = [];
$senders = [];
foreach ($objects as $object) {
    foreach ($object as $name => $value) {
        $names[] = (string) $name;
    }
    if (array_key_exists('from', $object)) {
        $senders[] = $object['from'];
    }
    $messages = $object['messages'] ?? null;
    foreach (is_array($messages) ? $messages : [] as $message) {
        if (is_array($message) && array_key_exists('from', $message)) {
            $senders[] = $message['from'];
        }
    }
}
header('Content-Type: application/json');
echo json_encode(['names' => $names, 'senders' => $senders], JSON_INVALID_UTF8_SUBSTITUTE);
